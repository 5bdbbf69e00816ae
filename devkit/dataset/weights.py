"""Pack the weights dataset: `python -m devkit.dataset.weights MODELS --recipe RECIPE`.

Weights change at other times than code, so they are a dataset of their own. With a recipe, the
dataset has its runs, and of each fold the checkpoints that it takes. Without one it has every run.
The recipe in kaggle.toml then says which checkpoints of a fold. That is the best checkpoint, unless
the recipe says `checkpoints`.

Each checkpoint is loaded into its network once. One that would fail on Kaggle thereby fails here.
Checkpoints go out as safetensors: they hold no code, and the upload does not unpack them. The files
lie flat. The manifest says where each belongs, and carries the runs' configurations. In the
notebook `kernelkit_dataset.models(folder)` puts the tree together again.

Conversions are kept by the content of what was converted. After an interruption, run it again: it
goes on where it was.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import mounted
from devkit.arguments import Arguments
from devkit.commands import command
from devkit.competitions import add_name, fill_in, models_folder
from devkit.dataset.limits import check_beforehand, check_upload, replace_dataset, safe_name
from devkit.dataset.listing import CLIENT_FILE, Listing, add_listing_options, listing_from, mark
from devkit.dataset.own import add_own_option, find_own
from devkit.dataset.pack import Packed, write_json, write_manifest
from devkit.dataset.wanted_weights import BEST, Wanted
from devkit.errors import DatasetError
from devkit.kaggle.settings import add_settings, chosen_file, load_settings
from devkit.tools import REPOSITORY, read_text
from kernelkit.files import file_sha256, replace_atomically
from kernelkit.own import OWN_FOLDER
from kernelkit.vocabulary import Prefer

if TYPE_CHECKING:
    from kernelkit.checkpoints import Member
    from kernelkit.checkpoints.engine_record import EngineRecord

__all__ = ["DEFAULT_LISTING", "pack_weights"]

DEFAULT_LISTING = Listing(
    owner="your-name",
    slug="kernelkit-weights",
    title="kernelkit weights",
    subtitle="Trained weights of an offline notebook, as safetensors",
)

_BUILD = REPOSITORY / "build"


def pack_weights(
    models_folder: Path,
    folder: Path,
    listing: Listing = DEFAULT_LISTING,
    *,
    wanted: Wanted = BEST,
    programs: bool = False,
    made_by: str = "",
    cache_folder: Path = _BUILD / "weights-cache",
    say: Callable[[str], None] = print,
) -> Packed:
    """Convert the runs below `models_folder` and write the dataset into `folder`.

    Parameters
    ----------
    models_folder
        The folder of training runs, or one run.
    folder
        Where the dataset is written.
    listing
        How the dataset is listed on Kaggle.
    wanted
        Which runs, and which checkpoints of their folds.
    programs
        Whether programs are packed too. They go out as they are.
    made_by
        The command that this is, which is noted. A push says it if the weights have changed.
    cache_folder
        Where conversions are kept.
    say
        It gets one line per checkpoint.

    Raises
    ------
    CheckpointError
        A run cannot be loaded, or two have the same weights, as `load_members` says.
    DatasetError
        Kaggle would refuse the dataset.
    """
    check_beforehand(folder, listing)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".packing-") as name:
        staging_folder = Path(name) / "dataset"
        staging_folder.mkdir()
        entries: list[dict[str, Any]] = []
        configurations: dict[str, str] = {}
        checkpoints: dict[str, tuple[Prefer, ...]] = {}
        noted = wanted.note(models_folder)  # what changes from now on is noticed
        for member in wanted.load(models_folder, programs, say):
            # a folder that is itself a run is found as the only one below its parent
            is_above = (models_folder / member.run).is_dir()
            runs_folder = models_folder if is_above else models_folder.parent
            record = _record_of(member)
            source, place = member.path, member.path.relative_to(runs_folder)
            if not member.is_program and record is None:
                place = place.with_name(f"{member.checkpoint or member.stem}.safetensors")
                source = _converted(member, cache_folder)
            entry = _pack_file(source, place, member, staging_folder)
            entries.append(entry)
            configurations |= _configurations(member, runs_folder)
            if record is not None:
                files, texts = _beside_engine(member.path, record)
                entries += [
                    _pack_file(file, file.relative_to(runs_folder), member, staging_folder)
                    for file in files
                ]
                configurations |= {
                    text.relative_to(runs_folder).as_posix(): read_text(text, DatasetError)
                    for text in texts
                }
            run = str(entry["name"]).split("/")[0]
            checkpoints[run] = wanted.words_of(run)
            say(f"{entry['name']}  {entry['size'] / 1e6:.1f} MB")
        target = {"configurations": configurations}
        manifest = write_manifest(staging_folder / mounted.WEIGHTS_MANIFEST, entries, target)
        write_json(staging_folder / CLIENT_FILE, listing.as_metadata())
        mark(staging_folder, checkpoints=checkpoints, weights=noted, made_by=made_by)
        check_upload(staging_folder, listing)
        replace_dataset(staging_folder, folder)
    return Packed(folder, manifest)


def _record_of(member: "Member") -> "EngineRecord | None":
    """What is known of a member that is an engine, also if it does not load on this machine."""
    from kernelkit.checkpoints.engine_record import EngineRecord

    return EngineRecord.beside(member.path)


def _beside_engine(engine: Path, record: "EngineRecord") -> tuple[list[Path], list[Path]]:
    """The weights that an engine was made of, and the files of text about them and about it."""
    weights = record.place_beside(engine)
    found = sorted(path for path in weights.rglob("*") if path.is_file()) or [weights]
    files = [path for path in found if path.suffix == ".safetensors"]
    texts = [path for path in found if path not in files]
    return files, [engine.with_name(engine.name + ".json"), *texts]


def _pack_file(source: Path, place: Path, member: "Member", staging_folder: Path) -> dict[str, Any]:
    """Put a file of a member into the dataset, to lie at `place` below the models folder."""
    packed = staging_folder / safe_name("__".join(place.parts))
    try:
        os.link(source, packed)
    except OSError:  # another file system
        shutil.copyfile(source, packed)
    return {
        "name": place.as_posix(),
        "safe_name": packed.name,
        "sha256": file_sha256(packed),
        "size": packed.stat().st_size,
        "kind": member.kind,
        "architecture": member.architecture,
        "score": member.score,
    }


def _converted(member: "Member", cache_folder: Path) -> Path:
    """The member's weights as safetensors, converted now if they never were."""
    kind = "averaged" if member.is_averaged else "plain"
    path = cache_folder / f"{_content(member.path)}-{kind}.safetensors"
    if not path.is_file():
        from safetensors.torch import save_file

        state = {name: tensor.clone() for name, tensor in member.module.state_dict().items()}
        with replace_atomically(path) as unfinished:
            # one key of metadata only: the order of several is not the same from run to run
            save_file(state, unfinished, metadata={"format": "pt"})
    return path


def _content(checkpoint: Path) -> str:
    """The SHA-256 of a checkpoint, or of all files of one that was unpacked into a folder."""
    if checkpoint.is_file():
        return file_sha256(checkpoint)
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file())
    return mounted.fingerprint_of(
        [{"safe_name": str(p.relative_to(checkpoint)), "sha256": file_sha256(p)} for p in files], {}
    )


def _configurations(member: "Member", runs_folder: Path) -> dict[str, str]:
    """What lies between the folder of runs and a checkpoint, and says what the network is.

    Mean and std may be buffers in the checkpoint, beside the network's weights. They become a file.
    """
    folders = [parent for parent in member.path.parents if runs_folder in parent.parents]
    from kernelkit.checkpoints.trained_with import SETTINGS

    paths = [folder / name for folder in folders for name in SETTINGS]
    found = {path: read_text(path, DatasetError) for path in paths if path.is_file()}
    said = member.trained_with
    if said.mean is not None and said.std is not None and not {"mean", "std"} & set(said.said_in):
        norm = json.dumps({"mean": said.mean, "std": said.std})
        found.setdefault(member.path.parent / SETTINGS[-1], norm)
    return {path.relative_to(runs_folder).as_posix(): text for path, text in found.items()}


@command("weights-dataset")
def main(arguments: list[str] | None = None) -> int:
    """Run the command line. The exit code is 0 only if the dataset was written."""
    options, settings_file, made_by = _parse(arguments)
    models_folder(options.models)
    settings = load_settings(settings_file)
    folder = (options.output or settings.weights_folder).resolve()
    find_own(options.own, settings_file)
    wanted = Wanted.of(options.recipe, options.checkpoints, settings_file)
    listing = DEFAULT_LISTING
    if settings_file is not None and settings.weights:
        listing = replace(listing, slug=settings.weights, title=settings.weights.replace("-", " "))
    packed = pack_weights(
        options.models.resolve(),
        folder,
        listing_from(options, listing),
        wanted=wanted,
        programs=options.programs or wanted.programs,
        made_by=made_by,
        cache_folder=folder.parent / "weights-cache",
    )
    total = sum(entry["size"] for entry in packed.files)
    print(f"{len(packed.files)} checkpoints, {total / 1e6:.1f} MB, {packed.fingerprint[:12]}")
    print(f"in {packed.folder}")
    return 0


def _parse(
    arguments: list[str] | None,
) -> tuple[argparse.Namespace, Path | None, str]:
    """The arguments, the settings file if not the repository's, and the command that this is."""
    parser = Arguments("weights-dataset", "python -m devkit.dataset.weights", description=__doc__)
    parser.add_models("the models folder, or one run")
    parser.add_folder(
        "--output",
        help="where to write (default: weights_folder of the settings, which is build/weights, "
        "or lies below build/ for your own competition)",
    )
    add_settings(parser)
    add_name(parser)
    parser.add_argument(
        "--recipe",
        variable="RECIPE",
        help="a recipe's name or YAML file, whose runs and checkpoints are packed "
        "(default: every run, with the checkpoints of the recipe in kaggle.toml)",
    )
    parser.add_argument(
        "--checkpoints",
        nargs="+",
        choices=get_args(Prefer),
        help="pack every run, and these checkpoints of each fold, as a recipe would name them",
    )
    parser.add_argument(
        "--programs",
        action="store_true",
        help="pack TorchScript and exported programs too (loading them may run their code)",
    )
    add_own_option(parser)
    add_listing_options(parser)
    options = parser.parse_args(arguments)
    if options.recipe and options.checkpoints:
        parser.error("give --recipe or --checkpoints: a recipe says which checkpoints it takes")
    # make exports it, and settings may put it there later
    code = options.own or os.environ.get(OWN_FOLDER)
    settings_file = chosen_file(options) if options.settings else None
    own = None
    if options.own_competition or (options.models is None and settings_file is None):
        own = fill_in(parser, options, models="models_folder")
    elif options.models is None:
        parser.error("give MODELS= (models)")
    given = sys.argv[1:] if arguments is None else arguments
    named = own.name if own and not options.settings else None
    made_by = parser.as_command(given, NAME=named, OWN=code)
    return options, own.settings_file if own else settings_file, made_by


if __name__ == "__main__":
    sys.exit(main())
