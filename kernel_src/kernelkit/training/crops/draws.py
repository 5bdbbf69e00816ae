"""The random numbers of an epoch and of a crop. They depend on the seed and on nothing else.

Every crop has a generator of its own, made from the seed, the epoch and the crop's number. So the
crops of an epoch are the same whoever reads them, in whatever order, and after a resume.
"""

from numpy.random import Generator, Philox, SeedSequence

__all__ = ["crop_generator", "epoch_generator"]


def epoch_generator(seed: int, epoch: int) -> Generator:
    """The generator of what all crops of an epoch share, such as their order."""
    return Generator(Philox(SeedSequence([seed, epoch])))


def crop_generator(seed: int, epoch: int, number: int) -> Generator:
    """The generator of one crop. No other crop's is like it.

    >>> crop_generator(1, 2, 3).random() == crop_generator(1, 2, 3).random()
    True
    """
    return Generator(Philox(SeedSequence([seed, epoch, number + 1])))
