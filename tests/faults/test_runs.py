"""Faults of run folders and of the table of runs: each is one sentence, and nothing is lost."""

from collections.abc import Callable
from pathlib import Path

import pytest

from devkit.training.runs import main
from kernelkit.errors import KernelKitError, OutputError, TrainingError
from kernelkit.training.fold_folder import FoldFolder
from kernelkit.training.recipe import RunRecipe
from kernelkit.training.run_folder import begin_run, finish_run
from tests.made.networks import FPN, write_run
from tests.made.training_run import FOLDS, load_training, write_trained


@pytest.fixture
def run(tmp_path: Path) -> RunRecipe:
    return load_training(tmp_path / "recipes", {}, {"core": 96}).runs["small"]


def as_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a file")


def as_folder(path: Path) -> None:
    path.mkdir(parents=True)


# name, what lies below the models folder, its error, and what it says
BEGUN: list[tuple[str, Callable[[Path], object], type[KernelKitError], str]] = [
    ("models a file", as_file, OutputError, r"small cannot be written \(Not a directory\). Make"),
    ("run a file", lambda m: as_file(m / "small"), OutputError, r"small cannot be written \(File"),
    (
        "no access",
        lambda m: (m / "small").symlink_to("/proc/nowhere"),
        OutputError,
        r"small cannot be written \(",
    ),
    (
        "cfg.yaml no YAML",
        lambda m: write(m / "small/cfg.yaml", "a: [1"),
        TrainingError,
        r"cfg.yaml: this is not valid YAML at line 1",
    ),
    (
        "cfg.yaml empty",
        lambda m: write(m / "small/cfg.yaml", ""),
        TrainingError,
        "cfg.yaml: found nothing in it",
    ),
    (
        "cfg.yaml of another training",
        lambda m: write(m / "small/cfg.yaml", "MODEL: {arch: Unet}"),
        TrainingError,
        r"cfg.yaml: found MODEL.arch Unet, and this training has FPN. Choose another output",
    ),
    (
        "cfg.yaml a folder",
        lambda m: as_folder(m / "small/cfg.yaml"),
        TrainingError,
        "cfg.yaml: found a folder, wanted a YAML file",
    ),
]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("spoil", "kind", "said"), [row[1:] for row in BEGUN], ids=[row[0] for row in BEGUN]
)
def test_a_run_folder_that_cannot_be_begun_is_named(
    spoil: Callable[[Path], object],
    kind: type[KernelKitError],
    said: str,
    run: RunRecipe,
    tmp_path: Path,
) -> None:
    """What lies there stays as it is."""
    models = tmp_path / "models"
    if spoil is not as_file:
        models.mkdir()
    spoil(models)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(kind, match=said):
        begin_run(run, models, FOLDS)
    assert sorted(tmp_path.rglob("*")) == before


# name, what happens to a trained run, and what finishing it says. None if it goes well
FINISHED: list[tuple[str, Callable[[Path], object], str | None]] = [
    ("nothing", lambda _: None, None),
    ("no cfg.yaml", lambda r: (r / "cfg.yaml").unlink(), "found no cfg.yaml, wanted the folder of"),
    (
        "metrics of a fold damaged",
        lambda r: (r / "fold_0/metrics.csv").write_bytes(b"\x00\xff"),
        r"fold_0/metrics.csv: (found no column|it cannot be read)",
    ),
    (
        "report a folder",
        lambda r: as_folder(r / "report.html"),
        r"report.html cannot be written \(",
    ),
    ("picture no picture", lambda r: write(r / "fold_0/pictures/a.png", "no picture"), None),
    ("picture a folder", lambda r: as_folder(r / "fold_0/pictures/a.png"), None),
    ("checkpoint empty", lambda r: write(r / "fold_0/models/e9_t9_last.pth", ""), None),
]


@pytest.mark.parametrize(
    ("spoil", "said"), [row[1:] for row in FINISHED], ids=[row[0] for row in FINISHED]
)
def test_a_run_that_cannot_be_finished_keeps_its_last_report(
    spoil: Callable[[Path], object], said: str | None, run: RunRecipe, tmp_path: Path
) -> None:
    """Numbers that cannot be read are an error. A picture is only shown."""
    folder = write_trained(run, tmp_path / "models")
    FoldFolder(folder, 0).add_metrics(1, {"loss": 1.0, "lr": 0.1})
    spoil(folder)
    if said is None:
        assert finish_run(folder).is_file()
        return
    with pytest.raises(KernelKitError, match=said):
        finish_run(folder)
    assert not [path for path in folder.rglob(".*") if path.is_file()]


# name, the ledger, the models folder, and what the command says
TABLES: list[tuple[str, str, str, str]] = [
    (
        "ledger damaged",
        '{"a": 1}\n{"b"\n',
        "models",
        "line 1 is not an entry of the ledger. Correct",
    ),
    ("ledger of text", "score 0.9\nscore 0.8\n", "models", "line 1 is not an entry"),
    ("no models folder", "", "nowhere", "nowhere: there is no such models folder. Check the path"),
    ("a file", "", "ledger.jsonl", "ledger.jsonl: found a file, wanted the models folder"),
]


@pytest.mark.parametrize(
    ("ledger", "models", "said"), [row[1:] for row in TABLES], ids=[row[0] for row in TABLES]
)
def test_a_table_of_runs_that_cannot_be_made_says_why(
    ledger: str, models: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command ends in one line and exit code 1."""
    write_run(tmp_path / "models/fpn", FPN, (1,))
    (tmp_path / "ledger.jsonl").write_text(ledger)
    code = main([str(tmp_path / models), "--ledger", str(tmp_path / "ledger.jsonl")])
    out, err = capsys.readouterr()
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert said in err


def test_a_run_in_the_making_has_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A fold without a checkpoint, half a file and a damaged table are no reason to fail."""
    (tmp_path / "models/new/fold_0/models").mkdir(parents=True)
    (tmp_path / "models/new/fold_1").mkdir()
    (tmp_path / "models/new/fold_1/metrics.csv").write_text("no table")
    (tmp_path / "models/new/fold_1/resume.ckpt").write_bytes(b"x" * 1000)
    (tmp_path / "models/new/fold_1/link.pth").symlink_to("/proc/nowhere")
    code = main([str(tmp_path / "models"), "--ledger", str(tmp_path / "none")])
    row = capsys.readouterr().out.splitlines()[-1].split()
    assert (code, row[:4]) == (0, ["new", "2", "-", "-"])
