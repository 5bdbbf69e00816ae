"""`make audit`: the locks against the known advisories, as the package registry lists them.

pip-audit asks the registry, from an environment of its own. It says "no known vulnerabilities" of a
package that the registry does not know, too. Here such a package counts as not audited.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from devkit.arguments import Arguments
from devkit.commands import command
from devkit.errors import LockError, ToolError
from devkit.tools import REPOSITORY
from kernelkit.errors import listed

__all__ = ["Audited", "audit", "locked_packages", "main"]

LOCKS = (
    *sorted((REPOSITORY / "requirements").glob("*.txt")),
    *sorted((REPOSITORY / "wheels/profiles").glob("*/pylock.toml")),
)
ACCEPTED = REPOSITORY / "requirements/accepted-advisories.toml"
AUDITOR = REPOSITORY / ".venv-audit/bin/pip-audit"
_PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)
_SECONDS = 1800
# So many packages that were not audited are named.
_SHOWN = 10


class _Advisory(BaseModel):
    id: str
    aliases: list[str] = []
    fix_versions: list[str] = []


class _Package(BaseModel):
    name: str
    version: str = ""
    skip_reason: str = ""
    vulns: list[_Advisory] = []


class _Report(BaseModel):
    dependencies: list[_Package]


class _AcceptedAdvisory(BaseModel):
    id: str
    reason: str


class _Accepted(BaseModel):
    accepted: list[_AcceptedAdvisory] = []


class _LockedWheel(BaseModel):
    name: str
    version: str


class _Pylock(BaseModel):
    packages: list[_LockedWheel] = []


@dataclass(frozen=True, slots=True)
class Audited:
    """What is known of a lock.

    Attributes
    ----------
    lock : Path
        The lock.
    count : int
        Its packages.
    findings : list of str
        One line per advisory that nobody accepted.
    unknown : list of str
        The packages that the registry knows nothing of.
    """

    lock: Path
    count: int
    findings: list[str]
    unknown: list[str]


def locked_packages(lock: Path) -> list[str]:
    """Read a lock's packages, each as `name==version`.

    Raises
    ------
    LockError
        It cannot be read.
    """
    try:
        text = lock.read_text(encoding="utf-8")
        if lock.suffix == ".toml":
            wheels = _Pylock.model_validate(tomllib.loads(text)).packages
            return [f"{wheel.name}=={wheel.version}" for wheel in wheels]
    except OSError as error:
        raise LockError(f"{lock}: it cannot be read ({error.strerror}). Make it again") from None
    except (ValueError, RecursionError) as error:
        raise LockError(f"{lock}: it is not a lock. Make it again") from error
    return [f"{name}=={version}" for name, version in _PIN.findall(text)]


def audit(lock: Path, auditor: Path, accepted: frozenset[str] = frozenset()) -> Audited:
    """Ask for the known advisories about a lock's packages.

    Parameters
    ----------
    lock
        A requirements file or a pylock.toml.
    auditor
        The program pip-audit.
    accepted
        The advisories that were looked at and do not concern this project, by id or alias.

    Raises
    ------
    LockError
        The lock cannot be read.
    ToolError
        The registry cannot be asked, or has no advisories.
    """
    packages = locked_packages(lock)
    if not packages:
        return Audited(lock, 0, [], [])
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "requirements.txt"
        wanted.write_text("\n".join(packages) + "\n", encoding="utf-8")
        report = _ask(auditor, wanted)
    answered = {package.name: package for package in report.dependencies}
    findings = [
        f"{package.name} {package.version}: {advisory.id}, {_remedy(advisory)}"
        for package in report.dependencies
        for advisory in package.vulns
        if not accepted & {advisory.id, *advisory.aliases}
    ]
    unknown = [
        pin for pin in packages if _is_unknown(answered.get(_normal(pin.partition("==")[0])))
    ]
    if len(unknown) == len(packages) > 1:
        raise ToolError(
            f"{lock}: the registry knows none of its {len(packages)} packages. A mirror may serve "
            "packages and no advisories. Ask PyPI itself"
        )
    return Audited(lock, len(packages), findings, unknown)


def _ask(auditor: Path, wanted: Path) -> _Report:
    options = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
    try:
        done = subprocess.run(
            [auditor, "--requirement", wanted, *options],
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
    except OSError as error:
        raise ToolError(
            f"{auditor}: it cannot be run ({error.strerror}). Run make audit, which installs it"
        ) from None
    except subprocess.TimeoutExpired:
        raise ToolError(f"the registry did not answer within {_SECONDS} s. Try again") from None
    try:
        return _Report.model_validate_json(done.stdout)
    except ValidationError:
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise ToolError(
            f"the registry could not be asked ({last}). Check the network, then run make audit "
            "again",
            done.stderr,
        ) from None


def _is_unknown(package: _Package | None) -> bool:
    return package is None or bool(package.skip_reason)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _remedy(advisory: _Advisory) -> str:
    names = f"{', '.join(advisory.aliases)}. " if advisory.aliases else ""
    fixed = ", ".join(advisory.fix_versions)
    return f"{names}{f'Mended in {fixed}' if fixed else 'Not mended yet'}"


def _accepted(path: Path) -> frozenset[str]:
    try:
        content = _Accepted.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError, RecursionError) as error:
        raise LockError(
            f"{path}: wanted tables [[accepted]] with an id and a reason. Correct it"
        ) from error
    return frozenset(advisory.id for advisory in content.accepted)


@command("audit")
def main(arguments: list[str] | None = None) -> int:
    """Audit each lock. The exit code is 1 if anything was found, or could not be audited."""
    parser = Arguments("audit", "python -m devkit.audit", description=__doc__)
    parser.add_argument("locks", type=Path, nargs="*", default=LOCKS, help="the locks to audit")
    parser.add_argument("--auditor", type=Path, default=AUDITOR, help="the program pip-audit")
    parser.add_argument("--accepted", type=Path, default=ACCEPTED, help="the accepted advisories")
    options = parser.parse_args(arguments)
    accepted = _accepted(options.accepted)
    is_fine = True
    for lock in options.locks:
        found = audit(lock, options.auditor, accepted)
        is_fine &= not found.findings and not found.unknown
        name = lock.relative_to(REPOSITORY) if lock.is_relative_to(REPOSITORY) else lock
        print(
            f"{name}: {found.count} packages, {len(found.findings)} advisories, "
            f"{len(found.unknown)} unknown to the registry"
        )
        for line in found.findings:
            print(f"  {line}")
        if found.unknown:
            print(f"  not audited: {listed(found.unknown, _SHOWN)}")
    return 0 if is_fine else 1


if __name__ == "__main__":
    sys.exit(main())
