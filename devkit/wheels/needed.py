"""Which of an image's packages a twin needs."""

from collections.abc import Iterable, Sequence

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from devkit.image.profiles import Profile
from devkit.wheels.refusals import Chains
from devkit.wheels.wheelfile import Wheel

__all__ = ["needed_packages", "package_name"]

# what runs a notebook
_RUNTIME = ("ipykernel", "ipywidgets", "pip")


def needed_packages(
    profile: Profile, modules: Iterable[str], wheels: Sequence[Wheel] = ()
) -> list[str]:
    """Return the image's packages that `wheels` and code with these imports need, sorted.

    If one is needed with an extra, it is named with it: `fsspec[http]`.
    """
    needed = set(_RUNTIME)
    for module in modules:
        owners = [name for name in profile.distributions_of(module) if name in profile.packages]
        # of the several opencv, the one that needs no libraries of a desktop
        owners.sort(key=lambda name: "headless" not in name)
        needed.update(owners[:1])
    for requirement in _requirements(wheels, profile):
        extras = ",".join(sorted(requirement.extras))
        needed.add(canonicalize_name(requirement.name) + (extras and f"[{extras}]"))
    vendored = {wheel.name for wheel in wheels}
    return sorted(
        n for n in needed if package_name(n) in profile.packages and package_name(n) not in vendored
    )


def _requirements(wheels: Sequence[Wheel], profile: Profile) -> list[Requirement]:
    """What the wheels require, with the extras that they ask of each other."""
    chains = Chains("", [Requirement(wheel.name) for wheel in wheels], wheels, profile)
    return chains.requirements


def package_name(needed: str) -> str:
    """Return the package alone, without extras: `fsspec` of `fsspec[http]`."""
    return needed.split("[")[0]
