"""Networks that come as programs: TorchScript, torch.export, AOTInductor and ONNX files.

All but ONNX files can run code when they are loaded. No setting of torch prevents that. So they are
loaded only if the caller says that they are trusted. A program's layers cannot be seen. So it is
asked about noise when it is loaded, which shows what it answers with and which tiles it takes.
"""

import importlib
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kernelkit.errors import CheckpointError

__all__ = ["SUFFIXES", "Program", "is_program", "load_program", "masks_of"]

_SCRIPT = (".ts", ".jit", ".torchscript")
_EXPORTED = ".pt2"
_ONNX = ".onnx"
# Where onnxruntime computes, the fastest first.
_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
# Suffixes of files that are programs. A file with another suffix may hold TorchScript too.
SUFFIXES = (*_SCRIPT, _EXPORTED, _ONNX)

# Sides of tiles and numbers of bands that a program is asked about, the likeliest first.
_SIDES = (64, 224, 256, 512, 384, 128, 96, 192, 320, 448, 518, 640, 768, 1024, 32)
_BANDS = (3, 1, 2, 4)
# What one tile's answer may differ by if it is asked again, of the largest answer.
_SAME = 1e-3
# Nearer than this to 0 or 1, a probability cannot be recovered from its logit in float32.
_SMALLEST = 1e-7
# Under these keys networks answer with their masks.
_MASK_KEYS = ("out", "logits", "masks", "mask", "pred", "output")


def is_program(path: Path) -> bool:
    """Whether a file is a program by its suffix, or holds TorchScript under another suffix."""
    if path.suffix in SUFFIXES:
        return True
    return any(name.endswith("/constants.pkl") for name in _names(path))


def _names(path: Path) -> list[str]:
    """The members of a zip file, or nothing if it is none or broken."""
    try:
        if not path.is_file() or not zipfile.is_zipfile(path):
            return []
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return []


def load_program(
    path: Path, trusted: bool, channels: int | None = None, classes: int | None = None
) -> "Program":
    """The program as a module in eval mode, on the CPU.

    Parameters
    ----------
    trusted
        Whether it may run code when it is loaded.
    channels, classes
        Of input and output, if a description says so.

    Raises
    ------
    CheckpointError
        The program is not trusted or not readable, onnxruntime is missing for an ONNX file, or its
        answers are none that an ensemble can use.
    """
    if path.is_dir():
        raise CheckpointError(f"{path}: found a folder, wanted a file. Copy the file again")
    if path.suffix == _ONNX:
        onnx = _OnnxSession(path)
        return Program(path, onnx, channels, classes, onnx.shape)
    if not trusted:
        raise CheckpointError(
            f"{path}: this is a program, which can run code when it is loaded. Write "
            "'programs: true' into the recipe if you trust it"
        )
    load: Callable[[Path], tuple[nn.Module, _Shape | None]] = _load_script
    remedy = "Write it again with this version"
    if path.suffix == _EXPORTED:
        load = _load_exported
        if any("/aotinductor/" in name for name in _names(path)):
            load = _load_compiled
            remedy = "Compile it again with this version, for this kind of device"
    try:
        module, shape = load(path)
    except Exception as error:  # each format has its own kinds of errors for a broken file
        raise CheckpointError(
            f"{path}: torch {torch.__version__} cannot load this program "
            f"({_first_line(error)}). {remedy}"
        ) from error
    return Program(path, module, channels, classes, shape)


# Of a program's input (N, C, h, w), each number that it fixes.
type _Shape = tuple[int | None, int | None, int | None, int | None]


class Program(nn.Module):
    """A program, and what it was found to take and to answer with.

    It is asked about noise at once: alone, again, and beside another tile.

    Parameters
    ----------
    path
        Its file, for errors.
    module
        Takes tiles (N, C, h, w).
    channels, classes
        Of input and output, if a description says so.
    shape
        What its file says about its input.

    Attributes
    ----------
    channels, classes
        Of input and output.
    size
        Height and width of the only tiles that it takes, or None if it takes others too.
    is_classifier
        Whether it answers with labels (N, J) of whole tiles.
    note
        What the caller should know, in a sentence, or None.

    Raises
    ------
    CheckpointError
        It takes no tiles that were tried, answers otherwise if it is asked again, or its answers
        are not as large as the tiles.
    """

    def __init__(
        self,
        path: Path,
        module: nn.Module,
        channels: int | None = None,
        classes: int | None = None,
        shape: _Shape | None = None,
    ) -> None:
        super().__init__()
        self.module = module
        self.note: str | None = None
        self._path = path
        # torch.export fixes the batch, or takes 2 tiles or more, if nobody says otherwise
        self._fixed_batch: int | None = None
        self._least_batch = 1
        # whether it answers in probabilities, and whether these sum to one
        self._activation: Literal["sigmoid", "softmax"] | None = None
        tiles = self._first_taken(shape or (None,) * 4, channels)
        answer = self._answered(tiles)
        self.channels = tiles.shape[1]
        self.is_classifier = answer.ndim == 2
        self._check_answer(answer, tiles, classes)
        self.classes = answer.shape[1]
        self._check_again(answer, tiles)
        self.size = self._only_size(tiles)
        self._check_range(answer, tiles[:1])
        self.module.cpu()

    def forward(self, tiles: Tensor) -> Tensor:
        """Logits (N, K, h, w), or (N, J) of a classifier, for tiles (N, C, h, w)."""
        if self.size is not None and tuple(tiles.shape[-2:]) != self.size:
            raise CheckpointError(
                f"{self._path}: the network takes tiles of {_in_words(self.size)} only, but "
                f"the recipe gives {_in_words(tiles.shape[-2:])}. Correct its tiles, "
                "or the zoom of its pyramid"
            )
        answer = self._run(tiles)
        match self._activation:
            case "softmax":
                return answer.float().clamp_min(_SMALLEST).log()
            case "sigmoid":
                return answer.float().logit(eps=_SMALLEST)
        return answer

    def _run(self, tiles: Tensor) -> Tensor:
        """What the program itself gives, in batches that it takes."""
        fixed, least = self._fixed_batch, self._least_batch
        parts = tiles.split(fixed) if fixed else (tiles,)
        answers = []
        for part in parts:
            missing = max(fixed or least, least) - len(part)
            filled = (
                torch.cat([part, part[-1:].expand(missing, -1, -1, -1)]) if missing > 0 else part
            )
            answers.append(masks_of(self.module(filled), self._path)[: len(part)])
        return answers[0] if len(answers) == 1 else torch.cat(answers)

    @torch.no_grad()
    def _first_taken(self, shape: _Shape, channels: int | None) -> Tensor:
        """The first tiles among the likely ones that the program takes."""
        count, bands, height, width = shape
        counts = (count,) if count else (None, 1)
        if channels and bands and channels != bands:
            raise CheckpointError(
                f"{self._path}: the program takes {bands} bands, but its description says "
                f"{channels}. Correct the description"
            )
        known = channels or bands
        first = ""
        sizes = [(height or side, width or side) for side in _SIDES]
        devices = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
        bands_tried = (known,) if known else _BANDS
        for device, size, band, fixed in product(
            devices, dict.fromkeys(sizes), bands_tried, counts
        ):
            tiles = _noise(2, band, size).to(device)
            self.module.to(device)
            self._fixed_batch = fixed
            try:
                self._run(tiles)
            except CheckpointError:
                raise
            except Exception as error:  # a program refuses a size with any kind of error
                first = first or _first_line(error)
                continue
            return tiles
        raise CheckpointError(
            f"{self._path}: the program takes no tiles of {min(_SIDES)} to {max(_SIDES)} pixels "
            f"({first}). Export one that takes (tiles, bands, height, width)"
        )

    @torch.no_grad()
    def _answered(self, tiles: Tensor) -> Tensor:
        return self._run(tiles).float()

    def _check_answer(self, answer: Tensor, tiles: Tensor, classes: int | None) -> None:
        if answer.ndim not in (2, 4) or len(answer) != len(tiles):
            raise CheckpointError(
                f"{self._path}: the program answers with an array {tuple(answer.shape)} for tiles "
                f"{tuple(tiles.shape)}, wanted (tiles, classes, height, width). Export one that "
                "answers with masks"
            )
        if answer.ndim == 4 and answer.shape[-2:] != tiles.shape[-2:]:
            raise CheckpointError(
                f"{self._path}: the program answers with masks of {_in_words(answer.shape[-2:])} "
                f"for tiles of {_in_words(tiles.shape[-2:])}, wanted one value per pixel. Export "
                "it with its last upsampling"
            )
        if classes is not None and answer.shape[1] != classes:
            raise CheckpointError(
                f"{self._path}: the program answers with {answer.shape[1]} classes, but its "
                f"description says {classes}. Correct the description"
            )

    def _check_again(self, answer: Tensor, tiles: Tensor) -> None:
        """Ask again, and without the other tile: a network in eval mode answers the same."""
        again = self._answered(tiles)
        try:
            alone = self._answered(tiles[:1])
        except Exception:  # as above: programs that were exported for a batch may refuse one tile
            self._least_batch = len(tiles)
            alone = self._answered(tiles[:1])
        tolerance = _SAME * float(answer.abs().max()) + 1e-6
        if float((again - answer).abs().max()) > tolerance:
            raise CheckpointError(
                f"{self._path}: the program answers differently if it is asked again, as with "
                "dropout. It was traced in train mode. Call eval() before you trace it"
            )
        if float((alone - answer[:1]).abs().max()) > tolerance:
            raise CheckpointError(
                f"{self._path}: the program's answer for a tile depends on the other tiles, as of "
                "norms in train mode. Call eval() before you trace it"
            )

    def _only_size(self, tiles: Tensor) -> tuple[int, int] | None:
        """The only size that the program takes, if it does not take a larger tile too."""
        height, width = tiles.shape[-2:]
        try:
            larger = _noise(1, self.channels, (height + 32, width + 64)).to(tiles.device)
            answer = self._answered(larger)
        except Exception:  # as above
            return height, width
        is_whole = self.is_classifier or answer.shape[-2:] == larger.shape[-2:]
        return None if is_whole else (height, width)

    def _check_range(self, answer: Tensor, tiles: Tensor) -> None:
        """Take answers for probabilities if none of them is outside of 0 to 1."""
        answers = [answer, self._answered(4 * tiles), self._answered(-4 * tiles)]
        lowest = float(torch.stack([a.min() for a in answers]).min())
        highest = float(torch.stack([a.max() for a in answers]).max())
        # also false for NaN, which the first image shows
        is_between = lowest >= 0 and highest <= 1
        if not is_between or lowest == highest == 0:
            return
        self._activation = "softmax" if self.classes > 1 and _sums_to_one(answer) else "sigmoid"
        self.note = (
            f"{self._path}: the answers lie between 0 and 1. They are taken for probabilities and "
            "turned into logits. Export the network without its last activation"
        )


def masks_of(answer: Any, path: Path) -> Tensor:
    """The masks in what a network answers with: a tensor, or the first or named one of several.

    Raises
    ------
    CheckpointError
        There is no tensor in it, or several under names that say nothing.
    """
    if isinstance(answer, Tensor):
        return answer
    if isinstance(answer, Mapping):
        tensors = {str(k): v for k, v in answer.items() if isinstance(v, Tensor)}
        for key in _MASK_KEYS:
            if key in tensors:
                return tensors[key]
        if len(tensors) == 1:
            return next(iter(tensors.values()))
        raise CheckpointError(
            f"{path}: the network answers under {', '.join(tensors) or 'no names'}, and none of "
            f"them is known ({', '.join(_MASK_KEYS)}). Let it answer with the masks alone"
        )
    if isinstance(answer, Sequence) and len(answer) > 0 and not isinstance(answer, str):
        return masks_of(answer[0], path)  # the labels of a classification head come second
    raise CheckpointError(f"{path}: the network answers without a tensor. Let it answer with masks")


def _load_exported(path: Path) -> tuple[nn.Module, _Shape | None]:
    program = torch.export.load(path)
    inputs = [node for node in program.graph.nodes if node.op == "placeholder"]
    shapes = [getattr(node.meta.get("val"), "shape", ()) for node in inputs]
    users = set(program.graph_signature.user_inputs)
    for node, shape in zip(inputs, shapes, strict=True):
        if node.name in users and len(shape) == 4:
            count, bands, height, width = (side if type(side) is int else None for side in shape)
            return program.module(), (count, bands, height, width)
    return program.module(), None


def _load_script(path: Path) -> tuple[nn.Module, _Shape | None]:
    return torch.jit.load(path, map_location="cpu").eval(), None


def _load_compiled(path: Path) -> tuple[nn.Module, _Shape | None]:
    # else a tile of another size than it was compiled for is read out of its bounds
    os.environ["AOTI_RUNTIME_CHECK_INPUTS"] = "1"
    return _Compiled(torch._inductor.aoti_load_package(str(path))), None


class _Compiled(nn.Module):
    """An AOTInductor package. Its weights are inside of it."""

    def __init__(self, package: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self._package = package

    def forward(self, tiles: Tensor) -> Any:
        return self._package(tiles.float().contiguous())


class _OnnxSession(nn.Module):
    """An ONNX file, run by onnxruntime in float32, on the GPU if it can, else on the CPU.

    Raises
    ------
    CheckpointError
        onnxruntime is not installed, or cannot load the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        # since 1.29 it sends reports to its makers, from the import on
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        try:
            runtime: Any = importlib.import_module("onnxruntime")
        except ImportError as error:
            raise CheckpointError(
                f"{path}: an ONNX file needs onnxruntime, which is not installed. Install it, or "
                "give the checkpoint itself"
            ) from error
        try:
            available = runtime.get_available_providers()
            providers = [name for name in _PROVIDERS if name in available]
            options = runtime.SessionOptions()
            options.log_severity_level = 4
            self._session = runtime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # the runtime's errors have no other common base
            raise CheckpointError(
                f"{path}: onnxruntime cannot load it ({_first_line(error)}). Export it again"
            ) from error
        [first, *others] = self._session.get_inputs()
        if others or len(first.shape) != 4:
            raise CheckpointError(
                f"{path}: found inputs {', '.join(i.name for i in (first, *others))}, wanted one "
                "of four dimensions. Export a network that takes tiles"
            )
        self._input = first.name
        self._half = first.type == "tensor(float16)"

    @property
    def shape(self) -> _Shape:
        """The sides that the file fixes of its input."""
        count, bands, height, width = (
            side if isinstance(side, int) else None for side in self._session.get_inputs()[0].shape
        )
        return count, bands, height, width

    def forward(self, tiles: Tensor) -> Tensor:
        given = tiles.half() if self._half else tiles.float()
        [answer, *_] = self._session.run(None, {self._input: given.cpu().numpy()})
        return torch.from_numpy(answer).to(tiles.device)


def _noise(count: int, bands: int, size: tuple[int, int]) -> Tensor:
    return torch.randn(count, bands, *size, generator=torch.Generator().manual_seed(0))


def _sums_to_one(answer: Tensor) -> bool:
    return bool(((answer.sum(1) - 1).abs() < 1e-2).all())


def _in_words(size: Sequence[int]) -> str:
    return " x ".join(str(side) for side in size)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:200].rstrip(".")
