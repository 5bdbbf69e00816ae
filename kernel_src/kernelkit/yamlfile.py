"""YAML from users, read within bounds: its size, its depth and what its aliases stand for.

The recipes and the descriptions in run folders are read here. What PyYAML lets pass in silence is
an error with its line: a key that stands twice, a list that holds itself.

>>> parse_yaml("core: 192  # pixels", "small.yaml", KernelKitError)
{'core': 192}
"""

import re
from pathlib import Path
from typing import Any, ClassVar, Literal

import yaml

from kernelkit.errors import KernelKitError

__all__ = ["parse_yaml", "read_yaml"]

# Bytes. PyYAML reads some 100 kB per second, and a long recipe has 5 kB.
_MOST_BYTES = 1 << 18
# Lists and sections around a value.
_MOST_LEVELS = 50
# Values, those that an alias stands for counted each time.
_MOST_VALUES = 20_000

_BYTE_ORDER_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}

type Version = Literal["1.1", "1.2"]


def read_yaml(
    path: str | Path, error: type[KernelKitError], version: Version = "1.1"
) -> dict[str, Any]:
    """Read the keys and values of a YAML file.

    Parameters
    ----------
    path
        The file.
    error
        What is raised, such as RecipeError.
    version
        As for `parse_yaml`.

    Raises
    ------
    KernelKitError
        The class `error`. The file cannot be read, or is refused as by `parse_yaml`.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        is_read = path.is_file() and size <= _MOST_BYTES
        text = path.read_bytes() if is_read else None
    except FileNotFoundError:
        raise error(f"{path}: there is no such file. Check the path") from None
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror}). Check the path") from problem
    except ValueError as problem:
        raise error(f"{str(path)!r}: no file can have this name. Check the path") from problem
    if text is None and path.is_file():
        raise _too_large(str(path), size, error)
    if text is None:
        what = "a folder" if path.is_dir() else "a device or a pipe"
        raise error(f"{path}: found {what}, wanted a YAML file. Name the file")
    return parse_yaml(text, str(path), error, version)


def parse_yaml(
    text: str | bytes, name: str, error: type[KernelKitError], version: Version = "1.1"
) -> dict[str, Any]:
    """Read keys and values from YAML text.

    Parameters
    ----------
    text
        At most 256 kB. Bytes are UTF-8, with or without a byte order mark.
    name
        What messages call it, such as a file's path.
    error
        What is raised, such as RecipeError.
    version
        With "1.1", as PyYAML writes and reads it, `no` is false, `014` is 12 and `1:30` is 90.
        With "1.2" these are words. Whoever checks types afterwards knows what they must be.

    Raises
    ------
    KernelKitError
        The class `error`. The text is not UTF-8 or not YAML, is too large or too deep, has a key
        twice, or holds anything but keys with values.
    """
    if len(text) > _MOST_BYTES:
        raise _too_large(name, len(text), error)
    characters = _decoded(text, name, error)
    try:
        loader = (_Loader if version == "1.1" else _PlainLoader)(characters)
        node = loader.get_single_node()
        if node is not None:
            _Check().of(node)
        content = None if node is None else loader.construct_document(node)
    except _RefusedError as problem:
        raise error(f"{name}, line {problem.line}: {problem}") from None
    except yaml.reader.ReaderError as problem:
        raise error(
            f"{name}: found the character U+{problem.character:04X} at position"
            f" {problem.position}, which no YAML has. Save it as plain text in UTF-8"
        ) from problem
    except yaml.MarkedYAMLError as problem:
        line = f" at line {problem.problem_mark.line + 1}" if problem.problem_mark else ""
        reason = f" ({problem.problem.removeprefix('but ')})" if problem.problem else ""
        raise error(f"{name}: this is not valid YAML{line}{reason}. Correct it") from problem
    if content is None:
        raise error(f"{name}: found nothing in it, wanted keys with values")
    if not isinstance(content, dict):
        raise error(f"{name}: found {_shown(content)}, wanted keys with values")
    return content


def _too_large(name: str, size: int, error: type[KernelKitError]) -> KernelKitError:
    return error(
        f"{name}: found {size} bytes, wanted at most {_MOST_BYTES} of YAML."
        " Check that it is the file that was meant"
    )


def _decoded(text: str | bytes, name: str, error: type[KernelKitError]) -> str:
    if isinstance(text, str):
        return text
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if text.startswith(mark):
            raise error(f"{name}: found {encoding}, wanted UTF-8. Save it as UTF-8")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = text.count(b"\n", 0, problem.start) + 1
        raise error(
            f"{name}, line {line}: found the byte 0x{text[problem.start]:02x}, which is not UTF-8."
            " Save the file as UTF-8"
        ) from problem


def _shown(value: Any) -> str:
    """Return the beginning of a value as text for a message."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


class _RefusedError(Exception):
    """What is valid YAML and still not taken."""

    def __init__(self, mark: yaml.Mark, message: str) -> None:
        super().__init__(message)
        self.line = mark.line + 1


_TOO_DEEP = f"found more than {_MOST_LEVELS} lists or sections inside each other. Write it flatter"


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with a bound on its recursion, and with a line in every error."""

    yaml_constructors: ClassVar[dict[Any, Any]] = {
        tag: function
        for tag, function in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or not tag.endswith((":binary", ":omap", ":pairs", ":set"))
    }
    _levels = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._levels += 1
        if self._levels > _MOST_LEVELS:
            raise _RefusedError(self.peek_event().start_mark, _TOO_DEEP)
        node = super().compose_node(parent, index)
        self._levels -= 1
        return node

    def construct_undefined(self, node: Any) -> Any:
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        raise _RefusedError(node.start_mark, f"found the tag {tag}. Write plain values")

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError, LookupError, AttributeError) as problem:
            # a date like 2020-99-99, a number of 5000 digits, `!!bool x`
            raise _RefusedError(
                node.start_mark,
                f"found {_shown(node.value)}, which is no number, date or truth value. If a word"
                " is meant, put it in quotes",
            ) from problem


_Loader.add_constructor(None, _Loader.construct_undefined)


class _PlainLoader(_Loader):
    """The same with YAML 1.2's few plain values: null, true, false and decimal numbers."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # as the base declares it


_PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:null", re.compile(r"(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]
)
_PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789")
)
_PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|(?:0|[1-9][0-9]*)(?=[eE]))(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)
_PlainLoader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"<<$"), ["<"])


class _Check:
    """Refuse keys that stand twice, and aliases that stand for too much.

    An alias is the very node that it names. So each node is looked at once.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, int]] = {}
        self._open: set[int] = set()

    def of(self, node: yaml.Node) -> tuple[int, int]:
        """Return how many values a node stands for, and how many levels they have."""
        if id(node) in self._known:
            return self._known[id(node)]
        if id(node) in self._open:
            raise _RefusedError(node.start_mark, "found an alias to what holds it. Write it out")
        self._open.add(id(node))
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
            parts = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            parts = node.value
        below = [self.of(part) for part in parts]
        values = 1 + sum(count for count, _ in below)
        levels = 1 + max((depth for _, depth in below), default=0)
        if values > _MOST_VALUES:
            raise _RefusedError(
                node.start_mark,
                f"found more than {_MOST_VALUES} values, each counted as often as an alias repeats"
                " it. Shorten it",
            )
        if levels > _MOST_LEVELS:
            raise _RefusedError(node.start_mark, _TOO_DEEP)
        self._open.remove(id(node))
        self._known[id(node)] = values, levels
        return values, levels


def _check_keys(node: yaml.MappingNode) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _RefusedError(key.start_mark, "found a list or a section as a key, wanted a word")
        if key.value in lines and key.value != "<<":
            raise _RefusedError(
                key.start_mark,
                f"found the key {_shown(key.value)} again. In this section it stands at line"
                f" {lines[key.value]} already. Keep one",
            )
        lines[key.value] = key.start_mark.line + 1
