"""Tests that need a GPU. Without one they are skipped, and cost nothing."""

import pytest

from tests.made.on_device import NO_GPU


def pytest_collection_modifyitems(items):
    """Skip tests of a GPU if there is none. If there is one, the slow ones come last."""
    items.sort(key=lambda item: all(map(item.get_closest_marker, ("gpu", "slow"))))
    if NO_GPU:
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason=NO_GPU))


@pytest.fixture(autouse=True)
def _exact_products():
    """Multiply float32 exactly, as the processor does. TF32 rounds to 10 bits."""
    import torch

    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
