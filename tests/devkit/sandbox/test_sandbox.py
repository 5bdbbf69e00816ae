import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from devkit.sandbox.run import Mount, Sandbox
from devkit.tools import REPOSITORY

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.txt").write_text("hello")
    mounts = [
        Mount(tmp_path / "images", "/kaggle/input/competitions/c"),
        Mount(tmp_path / "working", "/kaggle/working", writable=True),
    ]
    return Sandbox(tmp_path / "sandbox", mounts)


def run(sandbox: Sandbox, code: str) -> int:
    return sandbox.run([sys.executable, "-c", code], dict(os.environ)).exit_code


def needs_isolation(sandbox: Sandbox) -> None:
    if not sandbox.is_isolated:
        pytest.skip("this system allows no namespaces")


def test_the_command_finds_its_inputs_and_keeps_its_outputs(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """Inputs are at their Kaggle path, and what is written below working stays."""
    source = sandbox.path("/kaggle/input/competitions/c/a.txt")
    target = sandbox.path("/kaggle/working/b.txt")
    assert run(sandbox, f"open({target!r}, 'w').write(open({source!r}).read())") == 0
    assert (tmp_path / "working/b.txt").read_text() == "hello"


def test_inputs_are_read_only_even_for_root(sandbox: Sandbox) -> None:
    """Neither a mounted folder nor the folder of all inputs can be written to."""
    needs_isolation(sandbox)
    for place in ("/kaggle/input/competitions/c/x", "/kaggle/input/x"):
        assert run(sandbox, f"open({place!r}, 'w')") == 1


def test_there_is_no_network_but_the_loopback(sandbox: Sandbox) -> None:
    """A server on this machine cannot be reached, and one inside the sandbox can."""
    needs_isolation(sandbox)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        reach = f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)"
        assert run(sandbox, reach) == 1
    inside = (
        "import socket; s = socket.create_server(('127.0.0.1', 0)); "
        "socket.create_connection(s.getsockname(), 5)"
    )
    assert run(sandbox, inside) == 0


def test_the_home_is_private(sandbox: Sandbox) -> None:
    """Credentials and caches of the user's home are not those of the run."""
    code = f"import os; assert os.path.expanduser('~') == {str(sandbox.home.resolve())!r}"
    assert run(sandbox, code) == 0


def test_the_exit_code_is_the_commands(sandbox: Sandbox) -> None:
    """What the command says is what the sandbox says."""
    assert run(sandbox, "raise SystemExit(7)") == 7


def test_memory_is_that_of_the_whole_tree(sandbox: Sandbox) -> None:
    """200 MiB that a child holds for a second are counted."""
    child = "b = bytearray(200 << 20); import time; time.sleep(1.5)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    result = sandbox.run([sys.executable, "-c", code], dict(os.environ))
    assert result.peak_bytes > 200 << 20


def test_a_run_over_its_memory_budget_is_ended(sandbox: Sandbox) -> None:
    """The exit code is 137, as of a process that was killed for its memory."""
    code = "b = bytearray(300 << 20); import time; time.sleep(50)"
    result = sandbox.run([sys.executable, "-c", code], dict(os.environ), budget_bytes=100 << 20)
    assert result.exit_code == 137
    assert result.is_over_budget
    assert result.seconds < 40


def test_nothing_is_left_running(sandbox: Sandbox) -> None:
    """A child in a session of its own, as a notebook's kernel is, ends with the command."""
    seen: set[psutil.Process] = set()
    lock = threading.Lock()

    def note(tree: list[psutil.Process]) -> None:
        with lock:
            seen.update(tree)

    child = "import time; time.sleep(50)"
    code = (
        "import subprocess, sys, time; "
        f"subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True); "
        "time.sleep(1.5)"
    )
    sandbox.run([sys.executable, "-c", code], dict(os.environ), on_sample=note)
    assert len(seen) >= 2
    _, alive = psutil.wait_procs(list(seen), timeout=5)
    assert not alive


ASKER = """
import sys
from pathlib import Path
from devkit.sandbox.run import Sandbox

child = "import os, time; print(os.getpid(), flush=True); time.sleep(300)"
code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}], "
code += f"start_new_session=True); {child}"
Sandbox(Path(sys.argv[1]), []).run([sys.executable, "-c", code], {})
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_nothing_outlives_who_asked_for_it(number: signal.Signals, tmp_path: Path) -> None:
    """If the asking process is killed, the command and its children in other sessions end too."""
    with subprocess.Popen(
        [sys.executable, "-c", ASKER, str(tmp_path)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as asker:
        assert asker.stdout
        for _ in range(2):
            assert asker.stdout.readline().strip().isdigit()
        tree = psutil.Process(asker.pid).children(recursive=True)
        asker.send_signal(number)
    assert len(tree) >= 3
    _, alive = psutil.wait_procs(tree, timeout=15)
    assert not alive


def test_a_killed_command_is_an_exit_code(sandbox: Sandbox) -> None:
    """A command that the system kills has the exit code that a shell shows."""
    assert run(sandbox, "import os; os.kill(os.getpid(), 9)") == 137


def test_a_killed_guard_leaves_nothing_running(sandbox: Sandbox) -> None:
    """The run ends with the guard, and so does what it was guarding."""
    seen: set[psutil.Process] = set()

    def kill_guard(tree: list[psutil.Process]) -> None:
        if len(tree) > 1:
            seen.update(tree)
            tree[0].kill()

    command = [sys.executable, "-c", "import time; time.sleep(300)"]
    assert sandbox.run(command, dict(os.environ), on_sample=kill_guard).exit_code != 0
    _, alive = psutil.wait_procs(list(seen), timeout=15)
    assert not alive


@pytest.mark.parametrize("size", [4096, 1 << 20])
def test_shared_memory_is_the_sandboxs_own(size: int, tmp_path: Path) -> None:
    """/dev/shm has the size that is asked for, and what is left there vanishes with the run."""
    sandbox = Sandbox(tmp_path / "sandbox", [], shm_bytes=size)
    needs_isolation(sandbox)
    name = f"/dev/shm/{tmp_path.name}"
    code = f"import os; assert os.statvfs('/dev/shm').f_bfree * 4096 == {size}; "
    assert run(sandbox, f"{code} open({name!r}, 'w').close()") == 0
    assert not Path(name).exists()


def test_output_that_can_go_nowhere_ends_no_command(tmp_path: Path) -> None:
    """A full disk takes nothing, and the command goes on to its end."""
    code = "print('x' * 1000000); open('/kaggle/working/done', 'w')"
    asker = (
        "import sys; from pathlib import Path; from devkit.sandbox.run import Mount, Sandbox\n"
        "folder = Path(sys.argv[1])\n"
        "box = Sandbox(folder, [Mount(folder / 'w', '/kaggle/working', writable=True)])\n"
        f"code = {code!r}.replace('/kaggle', box.root)\n"
        "sys.exit(box.run([sys.executable, '-c', code], {}).exit_code)"
    )
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", asker, tmp_path], cwd=REPOSITORY, stdout=full, check=False
        )
    assert done.returncode == 0
    assert (tmp_path / "w/done").exists()
