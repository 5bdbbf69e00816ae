"""An ONNX file as a module."""

import importlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kernelkit.checkpoints.answers import first_line, place_of_masks
from kernelkit.checkpoints.onnx_file import check_onnx
from kernelkit.checkpoints.program import Shape
from kernelkit.checkpoints.runtime import PROVIDERS, Runtime
from kernelkit.errors import CheckpointError

__all__ = ["OnnxSession", "cpu_note", "nodes_by_provider"]

# What onnxruntime calls the types of tensors that tiles and answers may be.
_DTYPES = {
    "tensor(float16)": torch.float16,
    "tensor(float)": torch.float32,
    "tensor(double)": torch.float64,
}
_NUMPY_NAMES = {torch.float16: "float16", torch.float32: "float32", torch.float64: "float64"}
# Asks a session to remember which provider got which nodes. Older versions pass over it.
_REMEMBER = "session.record_ep_graph_assignment_info"
# Operators that work on shapes. Those of a few numbers are put on a CPU on purpose.
_SHAPES = frozenset(
    (
        *("Shape", "Size", "Gather", "Squeeze", "Unsqueeze", "Concat", "Slice", "Cast", "Constant"),
        *("ConstantOfShape", "Range", "ReduceProd", "Add", "Sub", "Mul", "Div", "Floor", "Ceil"),
    )
)
# How it says that memory ran out. It has no kind of error for that.
_OUT_OF_MEMORY = ("Failed to allocate memory", "out of memory")


class OnnxSession(nn.Module):
    """An ONNX file, run by onnxruntime on a device.

    Tiles and answers stay on the device: onnxruntime reads and writes torch's own memory.

    Parameters
    ----------
    path
        The file.
    runtime
        The device, and what may compute there.

    Attributes
    ----------
    provider
        What onnxruntime really computes by, such as `CUDAExecutionProvider`.
    in_words
        The same with onnxruntime's version.
    notes
        Which nodes a CPU computes although the session is on a GPU, and which of several outputs
        is taken.

    Raises
    ------
    CheckpointError
        The file refers to other files or libraries. Or onnxruntime is not installed, cannot load
        it, or computes by something else than was wanted.
    """

    def __init__(self, path: Path, runtime: Runtime) -> None:
        super().__init__()
        # since 1.29 it sends reports to its makers, from the import on
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        try:
            library: Any = importlib.import_module("onnxruntime")
        except ImportError as error:
            raise CheckpointError(
                f"{path}: an ONNX file needs onnxruntime, which is not installed. Install it, or "
                "give the checkpoint itself"
            ) from error
        check_onnx(path)
        self._path = path
        self._session = _session(library, path, runtime)
        self.provider: str = self._session.get_providers()[0]
        self.in_words = f"onnxruntime {library.__version__}, {self.provider}"
        _refuse_another(self.provider, library, path, runtime)
        is_gpu = self.provider != PROVIDERS["cpu"]
        self._device = runtime.device if is_gpu else torch.device("cpu")
        self.notes = cpu_note(path, nodes_by_provider(self._session)) if is_gpu else []
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            names = ", ".join(each.name for each in inputs)
            raise CheckpointError(
                f"{path}: found {f'inputs {names}' if names else 'no input'}, wanted one of four "
                "dimensions. Export a network that takes tiles"
            )
        if inputs[0].type not in _DTYPES:
            raise CheckpointError(
                f"{path}: it takes {inputs[0].type}, wanted {', '.join(_DTYPES)}. Export a network "
                "that takes normalised tiles"
            )
        self._input = inputs[0].name
        self._takes = _DTYPES[inputs[0].type]
        answer = self._masks_among(self._session.get_outputs())
        self._output = answer.name
        self._gives = _DTYPES.get(answer.type)
        # the shape of the answer for each shape of tiles, once it was seen
        self._answers: dict[torch.Size, tuple[int, ...]] = {}

    @property
    def shape(self) -> Shape:
        """The sides that the file fixes of its input."""
        count, bands, height, width = (
            side if isinstance(side, int) else None for side in self._session.get_inputs()[0].shape
        )
        return count, bands, height, width

    def forward(self, tiles: Tensor) -> Tensor:
        """What the file answers with, on the tiles' device."""
        given = tiles.to(self._device, self._takes).contiguous()
        known = self._answers.get(given.shape)
        if known is None or self._gives is None:
            answer = self._first_answer(given)
            self._answers[given.shape] = tuple(answer.shape)
        else:
            answer = torch.empty(known, dtype=self._gives, device=self._device)
            self._run(given, answer)
        return answer.to(tiles.device)

    def _masks_among(self, outputs: Sequence[Any]) -> Any:
        """The output with the masks: the one of a known name, or the first."""
        names = [output.name for output in outputs]
        if not names:
            raise CheckpointError(
                f"{self._path}: it answers with nothing. Export a network that answers with masks"
            )
        place = place_of_masks(names)
        if len(names) > 1:
            self.notes.append(
                f"{self._path}: it answers with {', '.join(names)}, and {names[place]} is taken"
            )
        return outputs[place]

    def _first_answer(self, given: Tensor) -> Tensor:
        """The answer in memory of onnxruntime's own, since nobody knows its shape yet."""
        binding = self._run(given, None)
        [answer, *_] = binding.copy_outputs_to_cpu()
        return torch.from_numpy(answer)

    def _run(self, given: Tensor, answer: Tensor | None) -> Any:
        """Let onnxruntime read the tiles, and write into `answer` or memory of its own."""
        if given.device.type == "cuda":  # it computes in a stream of its own
            torch.cuda.current_stream(given.device).synchronize()
        binding = self._session.io_binding()
        place = given.device.type, given.device.index or 0
        binding.bind_input(self._input, *place, *_memory(given))
        if answer is None:
            binding.bind_output(self._output)
        else:
            binding.bind_output(self._output, *place, *_memory(answer))
        try:
            self._session.run_with_iobinding(binding)
            binding.synchronize_outputs()
        except Exception as error:  # the runtime's errors have no other common base
            if any(hint in str(error) for hint in _OUT_OF_MEMORY):
                raise torch.OutOfMemoryError(first_line(error)) from error
            raise
        return binding


def _memory(tensor: Tensor) -> tuple[str, list[int], int]:
    """Type, shape and address of a tensor, as onnxruntime binds it."""
    return _NUMPY_NAMES[tensor.dtype], list(tensor.shape), tensor.data_ptr()


def _session(library: Any, path: Path, runtime: Runtime) -> Any:
    """A session with as many threads as torch has."""
    options = library.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry(_REMEMBER, "1")
    try:
        available = library.get_available_providers()
        providers = [
            (PROVIDERS[name], runtime.options_of(name))
            for name in runtime.possible
            if PROVIDERS[name] in available
        ]
        # it adds the CPU by itself, and says afterwards what it really took
        return library.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # the runtime's errors have no other common base
        raise CheckpointError(
            f"{path}: onnxruntime cannot load it ({first_line(error)}). Export it again"
        ) from error


def nodes_by_provider(session: Any) -> dict[str, Counter[str]]:
    """How many nodes of each operator each provider got. Empty if the version does not tell."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return {}
    found: dict[str, Counter[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        operators = [node.op_type for node in part.get_nodes()]
        found.setdefault(part.ep_name, Counter()).update(operators)
    return found


def cpu_note(path: Path, nodes: Mapping[str, Counter[str]]) -> list[str]:
    """One sentence if a CPU got nodes of a graph on a GPU, but for those that work on shapes."""
    on_cpu = nodes.get(PROVIDERS["cpu"], Counter())
    slow = {name: count for name, count in on_cpu.most_common() if name not in _SHAPES}
    if not slow:
        return []
    named = ", ".join(f"{count} {name}" for name, count in slow.items())
    total = sum(map(Counter.total, nodes.values()))
    return [
        f"{path}: a CPU computes {sum(slow.values())} of its {total} nodes, for which the GPU has "
        f"no code ({named}). Export the network with other operators if that is slow"
    ]


def _refuse_another(provider: str, library: Any, path: Path, runtime: Runtime) -> None:
    """Refuse a session that computes by what was not asked for, such as a CPU in silence."""
    wanted = [PROVIDERS[name] for name in runtime.wanted]
    if provider in wanted:
        return
    remedy = "Install the onnxruntime-gpu of its CUDA"
    if runtime.device.type != "cuda":
        remedy = "Choose a GPU as the device"
    raise CheckpointError(
        f"{path}: onnxruntime {library.__version__} computes by {provider} on {runtime.device}, "
        f"wanted {' or '.join(wanted)}. {remedy}, or add cpu to the recipe's execution.providers"
    )
