"""The ids of the training pictures of clouds and salt, which runs name for their validation."""

__all__ = ["CLOUDS_IDS", "SALT_IDS", "clouds_id", "salt_id"]


def clouds_id(prefix: str, number: int) -> str:
    """An id that looks like one of Kaggle's clouds: seven characters, in no order."""
    return f"{prefix}{number * 7919 % 99991:05d}"


def salt_id(prefix: str, number: int) -> str:
    """An id that looks like one of Kaggle's salt pictures: ten characters, in no order."""
    return f"{prefix}{number * 48271 % 0xFFFFFF:09x}"


CLOUDS_IDS = tuple(clouds_id("0b", number) for number in range(1, 10))
SALT_IDS = tuple(salt_id("a", number) for number in range(1, 551))
