"""The command line of the lint: `python -m devkit.lint --profile kaggle-py312`."""

import sys
from pathlib import Path

from devkit.arguments import Arguments, add_profile
from devkit.bars import waiting
from devkit.commands import command
from devkit.image.profiles import load_profile
from devkit.lint import kernel_files, lint
from devkit.wheels.lock import read_lock
from devkit.wheels.resolve import lock_path


@command("lint")
def main(arguments: list[str] | None = None) -> int:
    """Run the command line. The exit code is 1 if there is a finding."""
    parser = Arguments("lint", "python -m devkit.lint", description=__doc__)
    add_profile(parser)
    parser.add_argument("files", nargs="*", type=Path, help="what to check (all that goes there)")
    options = parser.parse_args(arguments)
    profile = load_profile(options.profile)
    lock = read_lock(lock_path(profile))
    files = [path.resolve() for path in options.files] or kernel_files()
    with waiting(f"{len(files)} files are linted"):
        findings = lint(files, profile, lock.modules if lock else ())
    for finding in findings:
        print(finding)
    print(f"{len(files)} files for {profile.name}: {len(findings) or 'no'} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
