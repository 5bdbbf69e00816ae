"""Batch norms fused into the convolutions before them, with proof that nothing else changed.

In eval mode a batch norm is one factor and one offset per channel. The convolution before it can
do that work at no cost. Networks differ too much to see from their names which norm follows which
convolution. So one small tile passes through, and hooks watch it. Something else may use a
convolution's plain answer. The network's answer shows that: if it changes, everything is put back.
"""

from dataclasses import dataclass

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_weights

__all__ = ["fuse_norms"]

# Relative to the largest logit. Rounding leaves differences of about 1e-6, a wrong fusion of 1.
_SAME = 1e-3


@dataclass(frozen=True)
class _Pair:
    """A convolution, and the norm that takes its answer."""

    conv: nn.Conv2d
    norm_name: str
    norm: nn.BatchNorm2d


def fuse_norms(network: nn.Module, tiles: Tensor) -> int:
    """Fuse the norms of `network` into its convolutions, in place, if they can be fused.

    Parameters
    ----------
    network
        In eval mode, in float32.
    tiles
        Any small input that the network takes.

    Returns
    -------
    How many norms were fused.
    """
    before, pairs = _watch(network, tiles)
    saved = [(pair, pair.conv.weight, pair.conv.bias) for pair in pairs]
    is_same = False
    try:
        for pair in pairs:
            _fuse(network, pair)
        after = _answer(network, tiles)
        is_same = bool((after - before).abs().max() <= _SAME * before.abs().max())
    finally:
        if not is_same:
            for pair, weight, bias in saved:
                pair.conv.weight, pair.conv.bias = weight, bias
                network.set_submodule(pair.norm_name, pair.norm)
    return len(pairs) if is_same else 0


@torch.no_grad()
def _answer(network: nn.Module, tiles: Tensor) -> Tensor:
    answer = network(tiles)
    return answer[0] if isinstance(answer, tuple) else answer


def _watch(network: nn.Module, tiles: Tensor) -> tuple[Tensor, list[_Pair]]:
    """The answer, and the convolutions called once, each with the norm that takes what it gives."""
    # the tensors are kept beside their ids, because a freed tensor's id is used again
    givers: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    pairs: list[_Pair] = []
    calls: dict[nn.Module, int] = {}
    hooks = []
    for name, module in network.named_modules():
        if type(module) is nn.Conv2d:

            def gave(conv: nn.Module, _: object, answer: Tensor) -> None:
                assert isinstance(conv, nn.Conv2d)
                givers[id(answer)] = conv, answer
                calls[conv] = calls.get(conv, 0) + 1

            hooks.append(module.register_forward_hook(gave))
        elif type(module) in (nn.BatchNorm2d, BatchNormAct2d) and module.running_mean is not None:

            def took(norm: nn.Module, inputs: tuple[Tensor], name: str = name) -> None:
                assert isinstance(norm, nn.BatchNorm2d)
                calls[norm] = calls.get(norm, 0) + 1
                if id(inputs[0]) in givers:
                    pairs.append(_Pair(givers[id(inputs[0])][0], name, norm))

            hooks.append(module.register_forward_pre_hook(took))
    try:
        seen = _answer(network, tiles)
    finally:
        for hook in hooks:
            hook.remove()
    return seen, [pair for pair in pairs if calls[pair.conv] == 1 and calls[pair.norm] == 1]


def _fuse(network: nn.Module, pair: _Pair) -> None:
    norm = pair.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    pair.conv.weight, pair.conv.bias = fuse_conv_bn_weights(
        pair.conv.weight,
        pair.conv.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    # timm's norms contain the activation that follows them
    rest = nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()
    network.set_submodule(pair.norm_name, rest.eval())
