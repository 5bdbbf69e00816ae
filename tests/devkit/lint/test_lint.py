"""The lint of what goes to Kaggle: each thing that would fail there is caught at its line."""

import json
from pathlib import Path

import pytest

from devkit.errors import LintError
from devkit.image.profiles import load_profile
from devkit.lint import KERNEL_SOURCE, NOTEBOOKS, kernel_files, lint, outside_modules
from devkit.lint import __main__ as command
from devkit.lint.imports import standard_library
from devkit.tools import REPOSITORY
from devkit.wheels.lock import read_lock
from devkit.wheels.resolve import lock_path
from tests.made.wheels import make_profile


@pytest.fixture
def source(tmp_path):
    """A folder like `kernel_src`, with a small package in it."""
    package = tmp_path / "kernel_src" / "kernelkit"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "grid.py").write_text("import math\n")
    return package.parent


@pytest.fixture
def check(source):
    """A function that lints one module of the package, and returns its findings as text."""

    def check(code, profile=None, vendored=(), name="kernelkit/module.py"):
        path = source / name
        path.write_text(code)
        profile = profile or load_profile("kaggle-py312")
        findings = lint([path], profile, vendored, source)
        assert {finding.path for finding in findings} <= {path}
        return [f"{finding.line}: {finding.message}" for finding in findings]

    return check


def write_notebook(path, *cells, metadata=None):
    """A notebook of these code cells, after a cell of text."""
    text = {"cell_type": "markdown", "metadata": {}, "source": "import requests"}
    code = [
        {"cell_type": "code", "metadata": {}, "source": cell, "outputs": [], "execution_count": 1}
        for cell in cells
    ]
    content = {"cells": [text, *code], "metadata": metadata or {}, "nbformat": 4}
    path.write_text(json.dumps({**content, "nbformat_minor": 5}))
    return path


@pytest.fixture
def check_notebook(source, tmp_path):
    """A function that lints a notebook of these cells: findings as `cell:line: message`."""

    def check(*cells):
        path = write_notebook(tmp_path / "notebook.ipynb", *cells)
        findings = lint([path], load_profile("kaggle-py312"), (), source)
        return [f"{finding.cell}:{finding.line}: {finding.message}" for finding in findings]

    return check


def test_what_the_image_and_the_wheels_have_passes(check):
    """The standard library, the image, vendored wheels and the package itself may be imported."""
    code = (
        "import json, os.path\nimport cv2\nimport yaml\nfrom PIL import Image\n"
        "import segmentation_models_pytorch as smp\nfrom kernelkit.grid import math\n"
        "from kernelkit import grid\nfrom . import grid\nfrom scipy.sparse import csr_array\n"
    )
    assert check(code, vendored={"segmentation_models_pytorch"}) == []


def test_a_network_module_is_caught_at_its_line(check):
    """`import requests`, which the image has, reaches for the network all the same."""
    assert check("import json\nimport requests\n") == [
        "2: requests reaches for the network, which is off in the kernel"
    ]


@pytest.mark.parametrize(
    "line",
    [
        "from urllib.request import urlopen",
        "from urllib import request",
        "import http.client",
        "from huggingface_hub import hf_hub_download",
        "from torch import hub",
        "import torch; torch.hub.load('a', 'b')",
        "import socket",
    ],
)
def test_every_way_to_the_network_is_caught(check, line):
    """Submodules, attributes and names imported from packages count too."""
    (finding,) = check(f"\n{line}\n")
    assert finding.startswith("2: ")
    assert "network" in finding


def test_parsing_an_address_is_no_network(check):
    """`urllib.parse` only looks at strings."""
    assert check("from urllib.parse import urlsplit\nimport urllib.parse\n") == []


def test_a_lazy_import_is_caught_at_its_line(check):
    """An import inside a function is found too. It would fail in the ninth hour."""
    (finding,) = check("def predict():\n    x = 1\n    import monai\n    return monai\n")
    assert finding.startswith("3: monai is neither in the standard library of Python 3.12, nor")
    assert "wheels/requirements.in" in finding


@pytest.mark.parametrize(
    "line", ["import_module('monai.x')", "importlib.import_module('monai')", "__import__('monai')"]
)
def test_an_import_by_name_is_caught(check, line):
    """A constant name given to the import machinery is an import."""
    (finding,) = check(f"from importlib import import_module\nimport importlib\n{line}\n")
    assert finding.startswith("3: monai is neither")


def test_an_import_that_may_fail_is_allowed(check):
    """An import may fail if the code expects that, or if it is for types only."""
    code = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import monai\n"
        "try:\n    import onnxruntime\nexcept ImportError:\n    onnxruntime = None\n"
    )
    assert check(code) == []
    assert len(check("try:\n    import monai\nexcept ValueError:\n    pass\n")) == 1


def test_what_stays_at_home_may_not_be_imported(check):
    """The dataset has neither devkit, nor the build backend, nor a module that does not exist."""
    assert check("from devkit.dataset.pack import pack\n")[0].startswith("1: devkit stays at home")
    assert check("import build_backend\n")[0].startswith("1: build_backend stays at home")
    assert check("import kernelkit.nothing\n")[0].startswith("1: there is no module kernelkit.noth")


def test_what_runs_before_the_installation_has_the_standard_library_only(check):
    """Beside the package lies the bootstrap, which cannot rely even on numpy."""
    (finding,) = check("import json\nimport numpy\n", name="bootstrap.py")
    assert finding.startswith("2: numpy is not in the standard library, and nothing else is there")


def test_the_standard_library_is_that_of_the_target(check):
    """Modules that a later Python dropped, or an earlier one lacked, are told apart."""
    assert check("import telnetlib", load_profile("kaggle-py312"))[0].endswith("in the kernel")
    py313 = load_profile("kaggle-py313")
    assert check("import cgi", py313) == [
        "1: cgi is no longer in the standard library of Python 3.13"
    ]
    assert "tomllib" not in standard_library((3, 10))
    assert "distutils" in standard_library((3, 11))
    assert "distutils" not in standard_library((3, 12))
    assert "compression" in standard_library((3, 14))


def test_match_is_caught_for_a_3_9_profile(check, tmp_path):
    """Syntax newer than the target's Python is an error at its line."""
    old = make_profile(tmp_path / "profiles", python="3.9.18")
    code = "x = 1\nmatch x:\n    case 1:\n        pass\n"
    assert check(code) == []
    assert check(code, old) == [
        "2: Cannot use `match` statement on Python 3.9 (syntax was added in Python 3.10)"
    ]
    (finding,) = check("x = f'{'a'}'\n", make_profile(tmp_path / "p", python="3.11.4"))
    assert "Python 3.11" in finding


def test_code_that_does_not_parse_is_caught(check):
    """A syntax error is a finding, and not the lint's own failure."""
    findings = check("def broken(:\n    pass\n")
    assert findings
    assert findings[0].startswith("1: ")


@pytest.mark.parametrize(
    "line",
    [
        f"path = '{REPOSITORY}/wheels'",
        f"path = f'{REPOSITORY}/{{name}}'",
        "path = '/home/me/models'",
        "path = r'C:\\models'",
        f"open('{Path.home()}/x.csv')",
    ],
)
def test_a_path_of_the_builders_machine_is_caught(check, line):
    """What only this machine has is named with the whole path."""
    (finding,) = check(f"name = 1\n{line}\n")
    assert finding.startswith("2: '")
    assert finding.endswith("is a path of the builder's machine")


def test_paths_of_kaggle_and_of_docstrings_pass(check):
    """Kaggle's own folders are meant, and prose may name what it likes."""
    assert check('"""Made in /home/me."""\nroot = "/kaggle/working"\ntmp = "/tmp"\n') == []


@pytest.mark.parametrize(
    "line",
    [
        "open('/kaggle/input/x.csv', 'w')",
        "open(file='/kaggle/input/x.csv', mode='a')",
        "Path('/kaggle/input/x').write_text('')",
        "(Path('/kaggle/input') / name / 'y').mkdir()",
        "(root / 'x').open('wb')",
        "frame.to_csv(f'{competition}/submission.csv')",
        "os.makedirs(os.path.join(competition, 'cache'))",
        "shutil.copy('/tmp/x', competition)",
        "torch.save(state, competition + '/w.pth')",
        "os.replace('/tmp/x', competition)",
        "(root / 'x').rename('/tmp/y')",
        "np.save('/kaggle/input/x.npy', array)",
        "rasterio.open(competition + '/x.tif', 'w', driver='GTiff')",
    ],
)
def test_a_write_under_the_inputs_is_caught(check, line):
    """The mounts are read-only, however the path is put together."""
    head = "competition: str = '/kaggle/input/c'\nroot = Path(competition)\n"
    findings = check(head + line)
    assert len(findings) == 1
    assert findings[0].startswith("3: ")
    assert "input mounts are read-only" in findings[0]


@pytest.mark.parametrize(
    "line",
    [
        "open('/kaggle/input/x.csv')",
        "open('/kaggle/input/x.csv', 'rb')",
        "Path('/kaggle/input/x').read_text()",
        "shutil.copy('/kaggle/input/x', '/kaggle/working/x')",
        "'/kaggle/input/x'.replace('/kaggle/input', '/kaggle/working')",
        "frame.to_csv('/kaggle/working/submission.csv')",
        "np.load('/kaggle/input/x.npy')",
    ],
)
def test_reading_the_inputs_passes(check, line):
    """Only writes are refused."""
    assert check(line) == []


def test_weights_that_a_library_would_fetch_are_caught(check):
    """The network is reached through arguments too."""
    (finding,) = check("import timm\nnet = timm.create_model('x', pretrained=True)\n")
    assert finding.startswith("2: timm.create_model(pretrained=True) fetches weights")
    (finding,) = check("net = smp.Unet('resnet18', encoder_weights='imagenet')\n")
    assert "encoder_weights='imagenet'" in finding
    assert check("net = smp.Unet('resnet18', encoder_weights=None)\n") == []


def test_an_installation_in_a_notebook_cell_is_caught_at_its_line(check_notebook):
    """`!pip install` is caught in its cell, at its line, and the code around it still counts."""
    findings = check_notebook("x = 1", "import json\n!pip install x\nimport monai\n")
    assert findings[0] == "3:2: 'pip install x' needs the network, which is off in the kernel"
    assert findings[1].startswith("3:3: monai is neither")
    assert len(findings) == 2


@pytest.mark.parametrize(
    "cell",
    [
        "%pip install -q x",
        "!python -m pip install x",
        "files = !wget example.org/x",
        "if True:\n    !conda install -y x",
        "%%bash\napt-get -y install x",
        "!git clone example.org/x",
        "subprocess.run([sys.executable, '-m', 'pip', 'install', 'x'])",
    ],
)
def test_every_way_to_install_is_caught(check_notebook, cell):
    """Magics, captured output, cells of shell and subprocesses install as well."""
    (finding,) = check_notebook(cell)
    assert "network" in finding


def test_shell_and_magics_that_stay_offline_pass(check_notebook):
    """Offline installation, timing and listing are no findings. A continued line is one line."""
    cells = ["!pip install --no-index x.whl", "%time x = 1", "!ls /kaggle/input", "%%time\nx = 1"]
    assert check_notebook(*cells, "!echo a \\\n  b\nx = 1\n?print") == []


def test_writes_in_shell_commands_are_caught(check_notebook):
    """Redirections, copies and `%%writefile` under the mounts are writes."""
    cells = ["!echo x > /kaggle/input/x", "%%writefile /kaggle/input/x.py\nx = 1"]
    findings = check_notebook(*cells, "!cp /tmp/x /kaggle/input/c/", "!cp /kaggle/input/x /tmp/x")
    assert [finding.split(":")[0] for finding in findings] == ["2", "3", "4"]


def test_constants_are_known_across_cells(check_notebook):
    """A parameter of the first cell is a path in the last."""
    findings = check_notebook("competition = '/kaggle/input/c'", "open(competition + '/x', 'w')")
    assert len(findings) == 1
    assert findings[0].startswith("3:1: open writes to /kaggle/input/c")


def test_a_notebook_that_stays_at_home_is_left_alone(tmp_path, source):
    """Only what goes to Kaggle is linted, and notebooks only if they run there offline."""
    (source / "build_backend.py").write_text("")
    write_notebook(tmp_path / "offline.ipynb", "x = 1")
    metadata = {"kernelkit": {"runs": "at home"}}
    write_notebook(tmp_path / "train.ipynb", "import requests", metadata=metadata)
    names = [path.name for path in kernel_files(source, tmp_path)]
    assert names == ["__init__.py", "grid.py", "offline.ipynb"]


def test_what_is_no_notebook_is_an_error(tmp_path, source, capsys):
    """A broken file ends the command with one line and 1."""
    path = tmp_path / "broken.ipynb"
    path.write_text("{}")
    with pytest.raises(LintError, match=r"broken\.ipynb is not a notebook"):
        lint([path], load_profile("kaggle-py312"), (), source)
    with pytest.raises(LintError, match=r"broken\.ipynb is not a notebook"):
        kernel_files(source, tmp_path)
    assert command.main([str(path)]) == 1
    assert capsys.readouterr().err.startswith("lint failed: ")
    assert command.main([str(tmp_path / "nothing.py")]) == 1


def test_the_command_exits_by_what_it_found(tmp_path, capsys):
    """Each finding is one line, `file:line: sentence`, and the exit code is 1."""
    path = tmp_path / "module.py"
    path.write_text("x = 1\nimport requests\n")
    assert command.main([str(path)]) == 1
    assert f"{path}:2: requests reaches for the network" in capsys.readouterr().out
    path.write_text("x = 1\n")
    assert command.main([str(path)]) == 0


@pytest.mark.parametrize("name", ["kaggle-py312", "kaggle-py313"])
def test_all_that_goes_to_kaggle_passes(name):
    """The kernel-safe code and the notebooks of this repository are fit for both images."""
    profile = load_profile(name)
    lock = read_lock(lock_path(profile))
    assert [str(finding) for finding in lint(kernel_files(), profile, lock.modules)] == []


def test_imports_of_the_kernel_are_known():
    """What the kernel imports is found, so that the twin can have it."""
    modules = outside_modules(kernel_files(KERNEL_SOURCE, NOTEBOOKS))
    assert {"numpy", "torch", "rasterio", "yaml"} <= {module.split(".")[0] for module in modules}
