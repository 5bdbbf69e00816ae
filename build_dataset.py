"""Build the kernel dataset of an image: lint -> wheels -> pack -> verify.

The result is a folder that the official client uploads as it is. It holds kernelkit and your own
code as wheels, the wheels that the image lacks, and the bootstrap that installs them there offline.
The notebook carries the fingerprint of its manifest. This command uploads nothing.
"""

import argparse
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

REPOSITORY = Path(__file__).resolve().parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "kernel_src")]

if sys.version_info < (3, 12) or not all(map(importlib.util.find_spec, ("packaging", "pydantic"))):
    sys.exit(
        "kernel-dataset failed: {} lacks the environment. Use {}, which `make lint` makes".format(
            sys.executable, REPOSITORY / ".venv" / "bin" / "python"
        )
    )

from packaging.utils import canonicalize_name  # noqa: E402

from devkit.arguments import Arguments, add_profile  # noqa: E402
from devkit.commands import command  # noqa: E402
from devkit.competitions import OwnCompetition, add_name, find  # noqa: E402
from devkit.dataset.listing import (  # noqa: E402
    add_listing_options,
    default_listing,
    listing_from,
)
from devkit.dataset.own import add_own_option, find_own  # noqa: E402
from devkit.image.profiles import load_profile  # noqa: E402
from devkit.kaggle.settings import add_settings, chosen_file, load_settings  # noqa: E402
from kernelkit.own import OWN_FOLDER  # noqa: E402

if TYPE_CHECKING:
    from devkit.dataset.builder import Builder


def parse(arguments: "list[str] | None" = None) -> argparse.Namespace:
    """Read the command line. The option `made_by` is the command that it is."""
    summary, details = (__doc__ or "").split("\n", 1)
    parser = Arguments("kernel-dataset", "python build_dataset.py", description=summary)
    parser.epilog = details
    add_profile(parser)
    parser.add_folder(
        "--output",
        help="where to write the dataset (default: dataset_folder of the settings, which is "
        "build/kernel-PROFILE, or lies in the folder there of a competition of your own)",
    )
    add_settings(parser)
    add_name(parser)
    add_own_option(parser)
    parser.add_argument(
        "--requirements",
        type=Path,
        default=REPOSITORY / "wheels" / "requirements.in",
        help="the packages to vendor, one per line (default: wheels/requirements.in)",
    )
    parser.add_folder(
        "--find-links",
        action="append",
        default=[],
        help="a folder with wheels of your own, beside wheels/local/",
    )
    parser.add_argument(
        "--no-index", action="store_true", help="take wheels from folders only, never fetch any"
    )
    parser.add_argument(
        "--upgrade",
        action="store_true",
        variable="UPGRADE",
        help="resolve again and take the newest versions that fit",
    )
    parser.add_argument(
        "--no-proof",
        action="store_true",
        help="leave out the last step, which installs and imports it in a twin of the image. "
        "The dataset gets a folder of its own, and `make push` does not take it",
    )
    parser.add_argument(
        "--allow-old",
        action="append",
        default=[],
        metavar="NAME",
        help="take a package even if it is years old, as `# allow-old` behind its line does",
    )
    parser.add_argument("--dry", action="store_true", help="say what would be done, and do nothing")
    add_listing_options(parser)
    given = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(given)
    own = None if options.settings else find(options.own_competition)
    code = options.own or os.environ.get(OWN_FOLDER)  # make exports it
    # to build it again is no wish for newer versions
    again = [word for word in given if word != "--upgrade"]
    options.made_by = parser.as_command(again, NAME=own and own.name, OWN=code)
    return options


@command("kernel-dataset")
def main(arguments: "list[str] | None" = None) -> int:
    """Run the command line. The exit code is 0 only if the dataset was built and verified."""
    options = parse(arguments)
    builder = make_builder(options)
    folder = (options.output or _default_folder(options)).absolute()
    if options.dry:
        print("\n".join(builder.describe_plan(folder)))
        return 0
    build = builder.build if options.no_proof else builder.build_proved
    packed = build(folder, upgrade=options.upgrade)
    print("\n".join(["", *builder.table(packed)]))
    return 0


def _default_folder(options: argparse.Namespace) -> Path:
    """Where the dataset of the settings lies, if it is for their image, or beside it."""
    settings = load_settings(chosen_file(options))
    folder = settings.dataset_folder
    if options.profile != settings.profile:
        folder = folder.with_name(f"kernel-{options.profile}")
    return folder.with_name(f"{folder.name}-unproved") if options.no_proof else folder


def make_builder(options: argparse.Namespace) -> "Builder":
    """Make the builder that the options ask for."""
    profile = load_profile(options.profile)
    from devkit.dataset.builder import Builder
    from devkit.wheels.downloads import WheelSource
    from devkit.wheels.resolve import Resolver

    default = WheelSource.default()
    folders = (*default.folders, *(folder.resolve() for folder in options.find_links))
    source = WheelSource(folders, options.no_index)
    settings_file = chosen_file(options)
    has_slug = options.settings or OwnCompetition.of_settings(settings_file)
    slug = load_settings(settings_file).dataset if has_slug else ""
    listing = listing_from(options, default_listing(profile, slug))
    allowed = frozenset(map(canonicalize_name, options.allow_old))
    requirements = options.requirements.absolute()
    resolver = Resolver(profile, requirements, source, allow_old=allowed)
    own = find_own(options.own, settings_file)
    return Builder(
        resolver,
        listing,
        own=own,
        made_by=options.made_by,
        settings_file=settings_file,
    )


if __name__ == "__main__":
    sys.exit(main())
