"""A network becomes an ONNX file or an AOTInductor package, for batches of any length."""

import copy
import importlib
import io
import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from kernelkit.checkpoints.answers import first_line, masks_of
from kernelkit.checkpoints.compiled import TILE_KEY, TORCH_KEY
from kernelkit.ensemble.batchnorm import fuse_norms
from kernelkit.errors import EngineError

__all__ = ["SUFFIXES", "Format", "check_tools", "export"]

# What an engine is written as.
Format = Literal["onnx", "aoti"]
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "aoti": ".pt2"}
# The longest batch that an engine takes.
_LONGEST = 1024


class _Exported(nn.Module):
    """A network as it is exported: masks alone, and float32 outside whatever is inside."""

    def __init__(self, network: nn.Module, path: Path, is_half: bool) -> None:
        super().__init__()
        self.network = network.half() if is_half else network
        self._path, self._is_half = path, is_half

    def forward(self, tiles: Tensor) -> Tensor:
        given = tiles.half() if self._is_half else tiles
        return masks_of(self.network(given), self._path).float()


def check_tools(form: Format) -> None:
    """Refuse a form that there is not, or that this machine lacks the tools for.

    Raises
    ------
    EngineError
        There is no such form, or a library or a compiler is missing.
    """
    if form not in SUFFIXES:
        raise EngineError(f"found the form {form!r:.40}, wanted {' or '.join(SUFFIXES)}")
    if form == "onnx":
        for name in ("onnx", "onnxscript", "onnxruntime"):
            try:
                importlib.import_module(name)
            except ImportError as error:
                raise EngineError(
                    f"to make an ONNX file needs {name}, which is not installed. Add it to "
                    "wheels/requirements.in, or make the format aoti"
                ) from error
    elif not shutil.which("g++"):  # a package for a GPU has code that starts its kernels
        raise EngineError(
            "to compile a package needs g++, which is not installed. Install it, or make the "
            "format onnx"
        )


def export(network: nn.Module, tiles: Tensor, path: Path, form: Format, *, is_half: bool) -> None:
    """Write a network as an engine. The network itself stays as it is.

    Parameters
    ----------
    network
        In eval mode, in float32, on the device of `tiles`. It answers in logits.
    tiles
        Two or more of those that it will see. Their size is fixed, and their number is not.
    path
        Where to write.
    is_half
        Whether the engine computes in float16.

    Raises
    ------
    EngineError
        torch cannot export the network.
    """
    own = copy.deepcopy(network)
    # the answer is compared afterwards, so what fuses wrongly is found
    fuse_norms(own, tiles[:1])
    exported = _Exported(own, path, is_half).eval()
    batch = torch.export.Dim("batch", min=1, max=_LONGEST)
    try:
        with torch.no_grad(), _quietly():
            if form == "onnx":
                torch.onnx.export(
                    exported,
                    (tiles,),
                    path,
                    dynamo=True,
                    external_data=False,
                    dynamic_shapes=({0: batch},),
                    input_names=["tiles"],
                    output_names=["logits"],
                )
            else:
                program = torch.export.export(exported, (tiles,), dynamic_shapes=({0: batch},))
                shape = "x".join(map(str, tiles.shape[1:]))
                said = {TORCH_KEY: torch.__version__, TILE_KEY: shape}
                torch._inductor.aoti_compile_and_package(
                    program,
                    package_path=str(path),
                    inductor_configs={"aot_inductor.metadata": said},
                )
    except Exception as error:  # exporters fail in many ways
        raise EngineError(
            f"{path.stem}: torch {torch.__version__} cannot make {form} of this network "
            f"({first_line(error)}). Leave it out of 'runs', or choose the other format"
        ) from error


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what exporters say on the way about themselves."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logger = logging.getLogger("torch.onnx")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)
