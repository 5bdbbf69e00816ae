import copy

import pytest
import timm
import torch
from torch import nn

from kernelkit.ensemble.batchnorm import fuse_norms
from tests.made.networks import FPN, UNET, answer, network

TILES = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def norms_of(module):
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())


@pytest.mark.parametrize(
    "description",
    [
        UNET,
        FPN,
        UNET | {"decoder_attention_type": "scse", "decoder_channels": [32, 32, 16, 16, 16]},
        {"arch": "UnetPlusPlus", "encoder_name": "tu-regnety_002"},
        {"arch": "DeepLabV3Plus", "encoder_name": "timm-efficientnet-b0"},
    ],
)
def test_fusing_leaves_the_answer_as_it_is(description):
    """With their norms fused, networks of all kinds answer as before, to rounding."""
    module = network(description, seed=1)
    before, norms = answer(module, 2 * TILES), norms_of(module)
    fused = fuse_norms(module, TILES)
    after = answer(module, 2 * TILES)
    assert (after - before).abs().max() < 1e-4 * before.abs().max()
    assert fused > 0.8 * norms
    assert norms_of(module) == norms - fused


def test_norms_with_an_activation_keep_it():
    """If timm's norms contain an activation, they are fused and the activation stays."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = timm.create_model("test_efficientnet", num_classes=2).eval()
    before = answer(module, TILES)
    assert fuse_norms(module, TILES) > 5
    torch.testing.assert_close(answer(module, TILES), before)


class Skipping(nn.Module):
    """Uses the plain answer of its convolution beside the normalised one."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        nn.init.constant_(self.norm.running_mean, 2)

    def forward(self, x):
        plain = self.conv(x)
        return plain + self.norm(plain)


class Shared(nn.Module):
    """Uses one convolution twice, with a norm after one of the calls only."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        nn.init.constant_(self.norm.running_mean, 2)

    def forward(self, x):
        return self.conv(self.norm(self.conv(x)))


@pytest.mark.parametrize("kind", [Skipping, Shared])
def test_what_cannot_be_fused_is_put_back(kind):
    """If fusing changes the answer, the network is put back as it was, bit for bit."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = kind().eval()
    original = copy.deepcopy(module)
    assert fuse_norms(module, TILES) == 0
    assert torch.equal(answer(module, TILES), answer(original, TILES))
    assert module.state_dict().keys() == original.state_dict().keys()
