"""Which files are checkpoints, by their names alone. So nothing here waits for torch to load."""

from pathlib import Path

__all__ = ["PICKLES", "PROGRAMS", "SUFFIXES", "checkpoint_stem", "is_unpacked", "pickle_folder"]

# Suffixes of files that `torch.save` writes.
PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl", ".pth.tar")
# Suffixes of files that are programs: TorchScript, torch.export or AOTInductor, and ONNX. A file
# with another suffix may hold TorchScript too.
PROGRAMS = (".ts", ".jit", ".torchscript", ".pt2", ".onnx")
# Suffixes of checkpoints.
SUFFIXES = (*PICKLES, ".safetensors", *PROGRAMS)


def checkpoint_stem(path: Path) -> str:
    """A checkpoint's name without its suffix. That may have two parts, as in `best.pth.tar`."""
    suffixes = sorted((*PICKLES, ".safetensors"), key=len, reverse=True)
    suffix = next((s for s in suffixes if path.name.endswith(s)), "")
    return path.name.removesuffix(suffix)


def is_unpacked(path: Path) -> bool:
    """Whether `path` is a folder that once was a `.pth` file."""
    return path.is_dir() and pickle_folder(path) is not None


def pickle_folder(path: Path) -> Path | None:
    """The folder of data.pkl: `path`, or the zip file's own top folder in it."""
    below = [child for child in path.iterdir() if (child / "data.pkl").is_file()]
    return path if (path / "data.pkl").is_file() else next(iter(below), None)
