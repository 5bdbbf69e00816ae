"""Pack the weights dataset: `python -m devkit.dataset.weights MODELS`.

Weights change on another clock than code, so they are a dataset of their own. Each run's best
checkpoint of each fold is loaded into its network once, so that one which would fail on Kaggle
fails here, and goes out as safetensors: no code in it, and no archive that the upload unpacks. The
files lie flat; the manifest says where each belongs, carries the runs' configurations, and
`kernelkit_dataset.models(folder)` in the notebook puts the tree together again.

Conversions are kept by the content of what was converted: an interrupted run goes on where it was.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

import mounted
from devkit.dataset.limits import check_upload, replace_dataset, safe_name
from devkit.dataset.listing import CLIENT_FILE, Listing, add_listing_options, listing_from
from devkit.dataset.pack import Packed, write_json, write_manifest
from devkit.tools import REPOSITORY
from kernelkit.checkpoints import Member, load_members
from kernelkit.checkpoints.weights import PICKLES, read_weights
from kernelkit.errors import KernelKitError
from kernelkit.files import file_sha256
from kernelkit.vocabulary import Prefer

__all__ = ["DEFAULT_LISTING", "pack_weights"]

DEFAULT_LISTING = Listing(
    owner="your-name",
    slug="kernelkit-weights",
    title="kernelkit weights",
    subtitle="Trained weights of an offline notebook, as safetensors",
)

_BUILD = REPOSITORY / "build"
_CONFIGURATIONS = ("cfg.yaml", "config.json")


def pack_weights(
    models: Path,
    folder: Path,
    listing: Listing = DEFAULT_LISTING,
    *,
    prefer: Prefer = "best",
    programs: bool = False,
    cache: Path = _BUILD / "weights-cache",
    say: Callable[[str], None] = print,
) -> Packed:
    """Convert the runs below `models` and write the dataset into `folder`.

    Parameters
    ----------
    prefer, programs
        As `load_members` takes them; programs go out as they are.
    cache
        Where conversions are kept.
    say
        Called with a line for each checkpoint.

    Raises
    ------
    CheckpointError
        A run cannot be loaded, or two have the same weights, as `load_members` says.
    DatasetError
        When Kaggle would refuse the dataset.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".packing-") as name:
        stage = Path(name) / "dataset"
        stage.mkdir()
        entries: list[dict[str, Any]] = []
        configurations: dict[str, str] = {}
        for member in load_members(models, prefer=prefer, programs=programs):
            # a folder that is itself a run is found as the only one below its parent
            root = models if (models / member.run).is_dir() else models.parent
            entry = _pack_member(member, root, stage, cache)
            entries.append(entry)
            configurations |= _configurations(member.path, root)
            say(f"{entry['name']}  {entry['size'] / 1e6:.1f} MB")
        target = {"configurations": configurations}
        manifest = write_manifest(stage / mounted.WEIGHTS_MANIFEST, entries, target)
        write_json(stage / CLIENT_FILE, listing.as_metadata())
        check_upload(stage, listing)
        replace_dataset(stage, folder)
    return Packed(folder, manifest)


def _pack_member(member: Member, root: Path, stage: Path, cache: Path) -> dict[str, Any]:
    place = member.path.relative_to(root)
    source = member.path
    if member.kind != "program":
        stem = place.stem if place.suffix in (*PICKLES, ".safetensors") else place.name
        place = place.with_name(f"{stem}.safetensors")
        source = _converted(member.path, cache)
    packed = stage / safe_name("__".join(place.parts))
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


def _converted(checkpoint: Path, cache: Path) -> Path:
    """The checkpoint as safetensors, converted now if it never was."""
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / f"{_content(checkpoint)}.safetensors"
    if not path.is_file():
        state = {name: tensor.clone() for name, tensor in read_weights(checkpoint).items()}
        unfinished = path.with_suffix(".unfinished")
        # one key of metadata only: the order of several is not the same from run to run
        save_file(state, unfinished, metadata={"format": "pt"})
        unfinished.replace(path)
    return path


def _content(checkpoint: Path) -> str:
    """The sha256 of a checkpoint, or of all files of one that was unpacked into a folder."""
    if checkpoint.is_file():
        return file_sha256(checkpoint)
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file())
    return mounted.fingerprint_of(
        [{"safe_name": str(p.relative_to(checkpoint)), "sha256": file_sha256(p)} for p in files], {}
    )


def _configurations(checkpoint: Path, root: Path) -> dict[str, str]:
    """The descriptions of the network that lie between the folder of runs and the checkpoint."""
    folders = [parent for parent in checkpoint.parents if root in parent.parents]
    paths = [folder / name for folder in folders for name in _CONFIGURATIONS]
    return {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8")
        for path in paths
        if path.is_file()
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code is 0 only where the dataset was written."""
    parser = argparse.ArgumentParser(prog="python -m devkit.dataset.weights", description=__doc__)
    parser.add_argument("models", type=Path, help="the folder of training runs")
    parser.add_argument(
        "--out", type=Path, default=_BUILD / "weights", help="where to write (default: %(default)s)"
    )
    parser.add_argument(
        "--prefer",
        choices=("best", "ema", "raw"),
        default="best",
        help="which checkpoints of a fold compete, as in the recipe (default: %(default)s)",
    )
    parser.add_argument(
        "--programs",
        action="store_true",
        help="pack TorchScript and exported programs too; loading them may run their code",
    )
    add_listing_options(parser)
    options = parser.parse_args(arguments)
    try:
        listing = listing_from(options, DEFAULT_LISTING)
        packed = pack_weights(
            options.models.resolve(),
            options.out.resolve(),
            listing,
            prefer=options.prefer,
            programs=options.programs,
            cache=options.out.resolve().parent / "weights-cache",
        )
    except KernelKitError as error:
        print(f"no dataset built: {error}", file=sys.stderr)
        return 1
    total = sum(entry["size"] for entry in packed.files)
    print(f"{len(packed.files)} checkpoints, {total / 1e6:.1f} MB, {packed.fingerprint[:12]}")
    print(f"in {packed.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
