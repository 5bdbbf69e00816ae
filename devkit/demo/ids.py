"""Ids of pictures that look like those of the original competitions."""

__all__ = ["clouds_id", "salt_id"]


def clouds_id(prefix: str, number: int) -> str:
    """An id that looks like one of Kaggle's clouds: seven characters, in no order."""
    return f"{prefix}{number * 7919 % 99991:05d}"


def salt_id(prefix: str, number: int) -> str:
    """An id that looks like one of Kaggle's salt pictures: ten characters, in no order."""
    return f"{prefix}{number * 48271 % 0xFFFFFF:09x}"
