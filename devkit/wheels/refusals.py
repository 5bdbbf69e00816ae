"""What a dataset must never ship, and the chain of requirements that asked for it.

A wheel with its own torch, numpy or CUDA replaces the image's. A wheel with a module that the image
has comes before it on the path. Both work at home and break on Kaggle.
"""

from collections.abc import Iterable, Sequence

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from devkit.errors import ResolveError
from devkit.image.profiles import Profile
from devkit.image.standard_library import standard_library
from devkit.wheels.lock import LockedWheel
from devkit.wheels.wheelfile import Wheel

__all__ = ["Chains", "active_requirements", "is_protected", "refuse_hiding", "refuse_protected"]

_PROTECTED = frozenset(("torch", "torchvision", "torchaudio", "numpy", "triton"))
_PROTECTED_FAMILIES = ("nvidia-", "cuda-")


def active_requirements(
    wheel: Wheel, profile: Profile, extras: Iterable[str] = ()
) -> list[Requirement]:
    """Return what a wheel requires on this image if it is installed with `extras`."""
    environments = [{**profile.markers, "extra": extra} for extra in ("", *extras)]
    return [
        requirement
        for requirement in wheel.requires
        if requirement.marker is None or any(map(requirement.marker.evaluate, environments))
    ]


class Chains:
    """Who wanted what: `chains[name]` is `requirements.in > a > name`, the shortest there is.

    Parameters
    ----------
    origin
        What to call the place of the requirements that were asked for.
    asked
        These requirements.
    wheels
        The vendored ones.
    profile
        The image.

    Attributes
    ----------
    requirements
        All that was asked for, at any depth.
    """

    def __init__(
        self, origin: str, asked: Sequence[Requirement], wheels: Sequence[Wheel], profile: Profile
    ) -> None:
        by_name = {wheel.name: wheel for wheel in wheels}
        self._parents: dict[str, str] = {}
        self.requirements: list[Requirement] = []
        queue = [(requirement, origin) for requirement in asked]
        seen = set()
        while queue:
            requirement, parent = queue.pop(0)
            name = canonicalize_name(requirement.name)
            self._parents.setdefault(name, parent)
            step = (name, frozenset(requirement.extras))
            if step in seen:
                continue
            seen.add(step)
            self.requirements.append(requirement)
            if name in by_name:
                required = active_requirements(by_name[name], profile, requirement.extras)
                queue += [(r, name) for r in required]

    def path(self, name: str) -> list[str]:
        """Return the names from the file of requirements to `name`.

        It is `name` alone if no wheel asks for it.
        """
        words = [name]
        while words[0] in self._parents:
            words.insert(0, self._parents[words[0]])
        return words

    def __getitem__(self, name: str) -> str:
        return " > ".join(self.path(name))


def is_protected(name: str) -> bool:
    """Whether a dataset must never ship the package of this canonical name."""
    return name in _PROTECTED or name.startswith(_PROTECTED_FAMILIES)


def refuse_protected(locked: Iterable[LockedWheel], chains: Chains, profile: Profile) -> None:
    """Refuse a resolution that brings its own torch, numpy or CUDA packages.

    Raises
    ------
    ResolveError
        It names them all, and for each the chain that wants it.
    """
    found = [f"{w.name} {w.version} ({chains[w.name]})" for w in locked if is_protected(w.name)]
    if found:
        raise ResolveError(
            "a dataset must never ship torch, numpy or CUDA packages. "
            f"The request wants {', '.join(found)}. "
            f"Ask for a version that uses what {profile.name} has"
        )


def refuse_hiding(wheels: Iterable[Wheel], chains: Chains, profile: Profile) -> None:
    """Refuse wheels that would come before something that the image has.

    Raises
    ------
    ResolveError
        It names the module, the package of the image that has it, and the chain.
    """
    standard = standard_library(profile.python_minor)
    for wheel in wheels:
        for module in wheel.modules:
            if module in standard:
                raise ResolveError(
                    f"{wheel.name} ({chains[wheel.name]}) would hide the {module} of Python's own "
                    "library. Ask for a package without it"
                )
            if module == "google":
                raise ResolveError(
                    f"{wheel.name} ({chains[wheel.name]}) lies in the namespace google. Kaggle "
                    "imports google before the notebook starts, so nothing can be added to it. "
                    "Ask for a package without it"
                )
            if module in wheel.namespaces:
                continue  # its parts are merged
            owners = [n for n in profile.distributions_of(module) if n in profile.packages]
            if owners and wheel.name not in owners:
                raise ResolveError(
                    f"{wheel.name} ({chains[wheel.name]}) would hide the {module} of {owners[0]}, "
                    f"which {profile.name} has. Ask for a package without it"
                )
