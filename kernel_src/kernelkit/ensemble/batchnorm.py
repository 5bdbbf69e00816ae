"""Batch norms worked into the convolutions before them, with proof that nothing else changed.

In eval mode a batch norm is a factor and an offset a channel, which the convolution before it can
carry at no cost. Which norm follows which convolution is seen by watching one tile pass; networks
differ too much to read it off their names. Whether anything else used a convolution's plain answer
is seen by the network's answer: unless it stays the same, everything is put back.
"""

from dataclasses import dataclass

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_weights

__all__ = ["fold_norms"]

# float32 leaves differences of about 1e-6 of the largest logit; a wrong fold leaves them all wrong
_SAME = 1e-3


@dataclass(frozen=True)
class _Pair:
    """A convolution, and the name of the norm that takes its answer and nothing else."""

    conv: nn.Conv2d
    norm_name: str
    norm: nn.BatchNorm2d


def fold_norms(network: nn.Module, tiles: Tensor) -> int:
    """Fold what can be folded in `network`, in place, and say how many norms that were.

    `tiles` is any small input; the network is in eval mode and float32.
    """
    before = _answer(network, tiles)
    pairs = _watch(network, tiles)
    saved = [(p, p.conv.weight, p.conv.bias) for p in pairs]
    for pair in pairs:
        _fold(network, pair)
    after = _answer(network, tiles)
    if (after - before).abs().max() <= _SAME * before.abs().max():
        return len(pairs)
    for pair, weight, bias in saved:
        pair.conv.weight, pair.conv.bias = weight, bias
        network.set_submodule(pair.norm_name, pair.norm)
    return 0


@torch.no_grad()
def _answer(network: nn.Module, tiles: Tensor) -> Tensor:
    answer = network(tiles)
    return answer[0] if isinstance(answer, tuple) else answer


def _watch(network: nn.Module, tiles: Tensor) -> list[_Pair]:
    """The convolutions that are called once, each with the norm that takes what it gives."""
    # the answers are kept, not only their ids, since an id is used again once its tensor is gone
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
        _answer(network, tiles)
    finally:
        for hook in hooks:
            hook.remove()
    return [pair for pair in pairs if calls[pair.conv] == 1 and calls[pair.norm] == 1]


def _fold(network: nn.Module, pair: _Pair) -> None:
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
    # timm's norms carry the activation that follows them
    rest = nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()
    network.set_submodule(pair.norm_name, rest.eval())
