"""What a dataset must never ship, and the chain of requirements that asked for it.

A wheel that brings its own torch, numpy or CUDA replaces the image's; one that carries a module
which the image has comes before it on the path. Both work at home and break there.
"""

from collections.abc import Iterable, Sequence

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from devkit.errors import ResolveError
from devkit.image.profiles import Profile
from devkit.wheels.lock import LockedWheel
from devkit.wheels.wheelfile import Wheel

__all__ = ["Chains", "active_requirements", "is_protected", "refuse_hiding", "refuse_protected"]

_PROTECTED = frozenset(("torch", "torchvision", "torchaudio", "numpy", "triton"))
_PROTECTED_FAMILIES = ("nvidia-", "cuda-")


def active_requirements(
    wheel: Wheel, profile: Profile, extras: Iterable[str] = ()
) -> list[Requirement]:
    """What a wheel requires on this image when installed with `extras`."""
    environments = [{**profile.markers, "extra": extra} for extra in ("", *extras)]
    return [
        requirement
        for requirement in wheel.requires
        if requirement.marker is None or any(map(requirement.marker.evaluate, environments))
    ]


class Chains:
    """Who wanted what: `chains[name]` is `requirements.in > a > name`, the shortest there is.

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
        """From the file of requirements to `name`; only `name` where no wheel asks for it."""
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
        Naming them all, and for each the chain that wants it.
    """
    found = [f"{w.name} {w.version} ({chains[w.name]})" for w in locked if is_protected(w.name)]
    if found:
        raise ResolveError(
            f"a dataset must never ship torch, numpy or CUDA packages, but the request wants "
            f"{'; '.join(found)}: ask for a version that uses what {profile.name} has"
        )


def refuse_hiding(wheels: Iterable[Wheel], chains: Chains, profile: Profile) -> None:
    """Refuse wheels that would come before something that the image has.

    Raises
    ------
    ResolveError
        Naming the module, the package of the image that has it, and the chain.
    """
    for wheel in wheels:
        for module in wheel.modules:
            if module == "google":
                raise ResolveError(
                    f"{wheel.name} ({chains[wheel.name]}) lies in the namespace google, which "
                    "Kaggle imports before the notebook starts, so it could not be imported there"
                )
            owners = [n for n in profile.distributions_of(module) if n in profile.packages]
            if owners and wheel.name not in owners:
                raise ResolveError(
                    f"{wheel.name} ({chains[wheel.name]}) would hide the {module} of {owners[0]}, "
                    f"which {profile.name} has: ask for a package without it"
                )
