import os
import signal
import sys

import pytest
from hypothesis import settings

# An example may take long, since the first one compiles, or since the machine is busy.
settings.register_profile("kernelkit", deadline=None)
settings.load_profile("kernelkit")

# Two test processes share two cores. So torch and the numeric libraries take one each.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
# Tests start hundreds of processes. Without kept bytecode each would compile torch anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# Competitions of the user's own in this clone change no test.
os.environ["KERNELKIT_RECIPES"] = os.devnull

# A shell that starts the tests in the background, or by nohup, has these ignored. Children would
# inherit that, and tests of how a command ends would wait for ever.
for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that have slow tests. So no worker waits for another one's last test."""
    slow_files = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow_files)


@pytest.fixture(scope="session")
def runtime(tmp_path_factory):
    """The dataset of kernelkit, built and proved once, and the twin that notebooks run in."""
    from tests.made.runtime import proved_runtime

    return proved_runtime(tmp_path_factory)


@pytest.fixture
def home(monkeypatch, capsys):
    """A home that is signed in to a server which answers as Kaggle does."""
    from tests.made.kaggle_home import signed_in

    with signed_in(monkeypatch, capsys) as home:
        yield home


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Two runs, three folds of a U-Net and one of an FPN, and their networks by run."""
    from tests.made.networks import FPN, UNET, write_run  # torch reads what is set above

    folder = tmp_path_factory.mktemp("models")
    networks = {
        "fpn": write_run(folder / "fpn", FPN, seeds=(1,)),
        "unet": write_run(folder / "unet", UNET, seeds=(1, 2, 3)),
    }
    return folder, networks
