"""Random numbers that depend on what they are drawn for, and not on the order of the draws."""

import hashlib

import numpy as np

__all__ = ["draw", "generator_of"]


def generator_of(*about: object) -> np.random.Generator:
    """A source of random numbers for one thing."""
    return np.random.default_rng(_number(about))


def draw(*about: object) -> float:
    """A random number from 0 to 1, without 1.

    >>> draw(0, "grid", "image", 512) == draw(0, "grid", "image", 512)
    True
    """
    return _number(about) / 2**64


def _number(about: tuple[object, ...]) -> int:
    digest = hashlib.blake2b(repr(about).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
