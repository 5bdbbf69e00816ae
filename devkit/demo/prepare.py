"""Prepare the demo: download, cut, train, score. Each step is done again if its inputs change."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from filelock import FileLock
from pydantic import TypeAdapter

from devkit.demo.competition import HIDDEN_TEST, write_competition, write_labels
from devkit.demo.large import SLIDES, write_large_competition
from devkit.demo.shapes import write_shape
from devkit.demo.sources import REQUIREMENTS, read_he_texture, read_pictures
from devkit.demo.stage import Stage, fingerprint
from devkit.errors import DemoError
from devkit.tools import REPOSITORY

__all__ = [
    "Demo",
    "Large",
    "Scores",
    "data_key",
    "large_key",
    "models_key",
    "prepare",
    "prepare_large",
    "prepare_shape",
]

_HERE = Path(__file__).parent
# All that trains. It lies in the other world, and decides on the weights.
_TRAINING = REPOSITORY / "kernel_src" / "kernelkit" / "training"


class MemberScore(TypedDict):
    """A checkpoint, and how good it is."""

    run: str
    fold: str
    checkpoint: str
    architecture: str
    parameters: int
    validation_dice: float | None
    heldout_dice: float
    milliseconds_per_tile: float


class Scores(TypedDict):
    """Dice of every member, and of every ensemble by its name."""

    members: list[MemberScore]
    ensembles: dict[str, float]


_SCORES = TypeAdapter(Scores)


@dataclass(frozen=True)
class Demo:
    """Where the parts of a prepared demo lie.

    Attributes
    ----------
    out
        The folder of the demo.
    """

    out: Path

    @property
    def competition(self) -> Path:
        """The competition's folder, as Kaggle mounts it in a public run."""
        return self.out / "competition"

    @property
    def hidden_competition(self) -> Path:
        """The same, as the hidden rerun sees it: other test images, and more of them."""
        return self.out / "hidden" / "competition"

    @property
    def solution(self) -> Path:
        """The labels of the public run's test images, `id,encoding`."""
        return self.out / "labels" / "solution.csv"

    @property
    def hidden_solution(self) -> Path:
        """The labels of the hidden rerun's test images, `id,encoding`."""
        return self.out / "labels" / "hidden_solution.csv"

    @property
    def models(self) -> Path:
        """Run folders, as the training left them."""
        return self.out / "models"

    @property
    def pretrained(self) -> Path:
        """The best network of each fold in the library's own saved form, one folder per fold."""
        return self.out / "pretrained"

    @property
    def large_models(self) -> Path:
        """Two H&E networks, one of each architecture, in the library's own saved form."""
        return self.out / "large_models"

    @property
    def scores(self) -> Scores:
        """Dice of every member and ensemble, as `score.held_out_scores` gives them.

        Raises
        ------
        DemoError
            The file of the scores is missing or damaged.
        """
        path = self.out / "report.json"
        try:
            return _SCORES.validate_json(path.read_bytes())
        except (OSError, ValueError) as error:
            raise DemoError(
                f"{path}: the demo's scores cannot be read. Delete {self.out}, and prepare it again"
            ) from error


@dataclass(frozen=True)
class Large:
    """Where the large competition lies. It has no labels.

    Attributes
    ----------
    competition
        The competition's folder.
    """

    competition: Path


def prepare(out: str | Path) -> Demo:
    """Make the demo in a folder, or find it there. The second time takes no time.

    Parameters
    ----------
    out
        The folder.

    Raises
    ------
    ToolError
        If the pictures are not there yet and cannot be downloaded.
    """
    out = Path(out)
    data = Stage(out, "data", data_key())
    models = Stage(out, "models", models_key("nuclei"))
    with _lock(out):
        if not data.is_done():
            print("demo: cutting the pictures into a competition", flush=True)
            for left in (out / "downloads").glob(".partial-*"):  # of a run that was killed
                shutil.rmtree(left, ignore_errors=True)
            with data.draft() as draft:
                _write_data(out / "downloads", Demo(draft))
        if not models.is_done():
            print(
                "demo: training the networks once, which takes about 4 minutes on 2 cores",
                flush=True,
            )
            with models.draft() as draft:
                _write_models(Demo(out), Demo(draft))
    return Demo(out)


def prepare_shape(out: str | Path, name: str, downloads: str | Path | None = None) -> Demo:
    """Make a small competition of another shape and its models, or find them in a folder.

    Parameters
    ----------
    out
        The folder.
    name
        One of `SHAPES`.
    downloads
        The folder of the wheels with the pictures. By default it is that of the demo beside `out`.

    Raises
    ------
    ToolError
        If the pictures are not in `downloads` yet and cannot be downloaded.
    """
    out = Path(out)
    downloads = Path(downloads) if downloads else out.parent / "demo" / "downloads"
    data = Stage(out, "data", data_key(name))
    models = Stage(out, "models", models_key(name))
    with _lock(out):
        if not data.is_done():
            print(f"demo: making a small competition of the shape of {name}", flush=True)
            with data.draft() as draft:
                demo = Demo(draft)
                write_shape(name, downloads, demo.competition, demo.solution)
                write_shape(
                    name, downloads, demo.hidden_competition, demo.hidden_solution, is_hidden=True
                )
        if not models.is_done():
            print(
                "demo: training its networks once, which takes about 2 minutes on 2 cores",
                flush=True,
            )
            from devkit.demo.train import train_networks

            with models.draft() as draft:
                train_networks(
                    name, Demo(out).competition, Demo(draft).models, cuts=_cuts_folder(out)
                )
    return Demo(out)


def prepare_large(out: str | Path, downloads: str | Path | None = None) -> Large:
    """Make the large slides in a folder, or find them there.

    Parameters
    ----------
    out
        The folder.
    downloads
        The folder of the wheels with the pictures. By default it is that of the demo beside `out`.

    Raises
    ------
    ToolError
        If the pictures are not in `downloads` yet and cannot be downloaded.
    """
    out = Path(out)
    downloads = Path(downloads) if downloads else out.parent / "demo" / "downloads"
    stage = Stage(out, "large", large_key())
    with _lock(out):
        if not stage.is_done():
            print("demo: building slides from the H&E pictures, about 1 GB", flush=True)
            with stage.draft() as draft:
                write_large_competition(read_he_texture(downloads), draft / "competition")
    return Large(out / "competition")


def data_key(name: str = "nuclei") -> str:
    """A hash of all that the files of a competition depend on."""
    own = ("competition", "layouts") if name == "nuclei" else (name, "cuts", "ids")
    return fingerprint([*(_HERE / f"{module}.py" for module in (*own, "sources")), REQUIREMENTS])


def models_key(name: str = "nuclei") -> str:
    """A hash of all that the trained models of a competition and their scores depend on."""
    own = [_HERE / source for source in ("score.py", "train.py", f"training/{name}.yaml")]
    return fingerprint([*own, *sorted(_TRAINING.rglob("*.py"))], data_key(name))


def large_key() -> str:
    """A hash of all that the large slides depend on."""
    return fingerprint([_HERE / "large.py", _HERE / "sources.py", REQUIREMENTS], SLIDES)


def _write_data(downloads: Path, demo: Demo) -> None:
    pictures = read_pictures(downloads)
    write_competition(pictures, demo.competition)
    write_competition(pictures, demo.hidden_competition, HIDDEN_TEST)
    write_labels(pictures, demo.solution)
    write_labels(pictures, demo.hidden_solution, HIDDEN_TEST)


def _write_models(data: Demo, demo: Demo) -> None:
    # torch takes seconds to import, and only this step of minutes needs it
    from devkit.demo.score import held_out_scores
    from devkit.demo.train import export_pretrained, train_networks, training_recipe

    train_networks("nuclei", data.competition, demo.models, cuts=_cuts_folder(data.out))
    export_pretrained(demo.models, demo.pretrained)
    training = training_recipe("nuclei")
    for run in training.runs.values():
        if run.ensemble == "h-and-e":
            first = f"{run.name}_fold_0"
            shutil.copytree(demo.pretrained / first, demo.large_models / first)
    scores = held_out_scores(training, data.competition, data.solution, demo.models)
    (demo.out / "report.json").write_text(json.dumps(scores, indent=1))


def _cuts_folder(out: Path) -> Path:
    """Where the training images lie at the scale of the training."""
    return out / "cuts"


def _lock(out: Path) -> FileLock:
    """Keep other processes from preparing the same folder at the same time: they wait."""
    out.mkdir(parents=True, exist_ok=True)
    return FileLock(out / ".lock")
