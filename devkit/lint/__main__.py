"""The command line of the lint: `python -m devkit.lint --profile kaggle-py312`."""

import argparse
import sys
from pathlib import Path

from devkit.image.profiles import load_profile
from devkit.lint import kernel_files, lint
from devkit.wheels.lock import read_lock
from devkit.wheels.resolve import lock_path
from kernelkit.errors import KernelKitError


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code is 1 where there is a finding."""
    parser = argparse.ArgumentParser(prog="python -m devkit.lint", description=__doc__)
    parser.add_argument("--profile", default="kaggle-py312", help="the image (%(default)s)")
    parser.add_argument("files", nargs="*", type=Path, help="all that goes to Kaggle, if none")
    options = parser.parse_args(arguments)
    try:
        profile = load_profile(options.profile)
        lock = read_lock(lock_path(profile))
        vendored = {module for wheel in lock.wheels for module in wheel.modules} if lock else set()
        files = [path.resolve() for path in options.files] or kernel_files()
        findings = lint(files, profile, vendored)
    except KernelKitError as error:
        print(f"lint failed: {error}", file=sys.stderr)
        return 2
    for finding in findings:
        print(finding)
    print(f"{len(files)} files for {profile.name}: {len(findings) or 'no'} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
