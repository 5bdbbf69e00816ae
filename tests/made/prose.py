"""How the project's English reads: what is prose in its files, and how long its sentences are.

`python -m tests.made.prose` prints a table. It has semicolons per 100 sentences and words per
sentence, per folder. `python -m tests.made.prose FILE...` lists each sentence that breaks the
house's form.
"""

import ast
import io
import json
import re
import sys
import textwrap
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "REPOSITORY",
    "Folder",
    "Sentence",
    "files",
    "files_by_folder",
    "read_folder",
    "sentences",
]

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDERS = (
    "kernel_src",
    "devkit",
    "tests",
    "benchmarks",
    "docs",
    "notebooks",
    "requirements",
    "wheels",
)
SUFFIXES = (".py", ".md", ".ipynb", ".yaml", ".toml", ".in")
# in words
LONGEST = 20

# Comments for tools.
_MARKS = re.compile(r"^(type|noqa|pragma|ruff|fmt|mypy)\b")
# A heading of numpydoc with its rule, and the line that names a parameter above its description.
_SECTION = re.compile(r"^\s*[A-Z][A-Za-z ]+\n\s*-{3,}\s*$", re.MULTILINE)
_ENTRY = re.compile(r"^( *)[\w*`][\w*`, ]*( : .*)?\n(?=\1 +\S)", re.MULTILINE)
_ENTRIES = re.compile(
    r"^(?: *)(?:Parameters|Other Parameters|Attributes|Returns|Yields|Raises)\n *-{3,}\n"
    r"(?:(?!^ *[A-Z][A-Za-z ]+\n *-{3,}$).*\n?)*",
    re.MULTILINE,
)
_BULLET = re.compile(r"^ *(?:[-*#>]+|\d+\.) ", re.MULTILINE)
_CODE = re.compile(r"``[^`]+``|`[^`]+`|https?://\S+")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
# 12 000 is one number, and one word
_NUMBER = re.compile(r"(?<=\d) (?=\d{3}\b)")
# What parts sentences, a mark before each item of a list among it.
_ITEM = "\0"
_END = re.compile(rf"(?<=[.!?])[\"')*_]*\s+|\n\s*\n|:\s*\n|{_ITEM}")
_COMMENT = re.compile(r"(?:^|\s)#+\s(.*)$")
# What makes a string a message.
_WORDS = re.compile(r"[A-Za-z]{2,},? [a-z]+,? [a-z]")


@dataclass(frozen=True)
class Sentence:
    """One sentence, and where it stands."""

    path: Path
    line: int
    text: str

    @property
    def words(self) -> int:
        """How many words it has. A piece of code counts as one."""
        return len(re.findall(r"[A-Za-z0-9][^\s]*", self.text))

    @property
    def semicolons(self) -> int:
        """How many semicolons join its clauses."""
        return self.text.count(";")


@dataclass(frozen=True)
class Folder:
    """The sentences of one folder."""

    name: str
    sentences: list[Sentence]

    @property
    def words_each(self) -> float:
        """Words per sentence."""
        return sum(each.words for each in self.sentences) / max(1, len(self.sentences))

    @property
    def semicolons_per_100(self) -> float:
        """Semicolons per 100 sentences."""
        return 100 * sum(each.semicolons for each in self.sentences) / max(1, len(self.sentences))


def files() -> list[Path]:
    """Every file of the project with prose in it."""
    found = [path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*")]
    found += REPOSITORY.glob("*")
    return sorted(path for path in found if path.suffix in SUFFIXES or path.name == "Makefile")


def sentences(path: Path) -> Iterator[Sentence]:
    """Iterate over the sentences of docstrings, comments and messages, or of a page."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        # the strings of a test are what it gives to its subject, and what that answers
        blocks = _python(text, with_texts="tests" not in path.relative_to(REPOSITORY).parts)
    elif path.suffix == ".md":
        blocks = _markdown(text)
    elif path.suffix == ".ipynb":
        blocks = _notebook(text)
    else:
        blocks = _settings(text)
    for start, block in blocks:
        for offset, part in _parts(_plain(block)):
            flat = " ".join(part.split())
            if len(re.findall(r"[A-Za-z]{2,}", flat)) > 1:
                yield Sentence(path, start + offset, flat)


def files_by_folder() -> dict[str, list[Path]]:
    """Every file of the project with prose in it, by the name of its folder."""
    found: dict[str, list[Path]] = {}
    for path in files():
        found.setdefault(_folder(path), []).append(path)
    return dict(sorted(found.items()))


def read_folder(name: str, paths: Sequence[Path]) -> Folder:
    """The sentences of the files of a folder."""
    return Folder(name, [sentence for path in paths for sentence in sentences(path)])


def _plain(block: str) -> str:
    """A block with one word per piece of code, and a mark before each item of a list."""
    block = _BULLET.sub(_ITEM, _LINK.sub(r"\1", block))
    return _NUMBER.sub("", _CODE.sub(lambda code: "code" + "\n" * code[0].count("\n"), block))


def _parts(block: str) -> Iterator[tuple[int, str]]:
    """The sentences of a block, each with the number of lines above it."""
    start = 0
    for end in [*_END.finditer(block), None]:
        part = block[start : end.start() if end else None]
        blank = len(part) - len(part.lstrip())
        yield block.count("\n", 0, start + blank), part
        start = end.end() if end else start


def _python(text: str, with_texts: bool) -> Iterator[tuple[int, str]]:
    tree = ast.parse(text)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and (docstring := ast.get_docstring(node)):
            yield node.body[0].lineno, _prose_of(docstring)
    if with_texts:
        yield from _texts(tree)
    yield from _comments(text)


def _prose_of(docstring: str) -> str:
    """A docstring without its examples, its tables, its headings and the names in its lists."""
    kept, in_example = [], False
    for line in docstring.splitlines():
        in_example = line.lstrip().startswith(">>>") or (in_example and bool(line.strip()))
        kept.append("" if in_example or line.lstrip().startswith("|") else line)
    text = _ENTRIES.sub(lambda section: _ENTRY.sub("\n", section[0]), "\n".join(kept))
    return _SECTION.sub("\n", text)


def _texts(node: ast.AST) -> Iterator[tuple[int, str]]:
    """The strings below a node, with one word per value in them. Docstrings and code are none."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            continue
        text = None
        if isinstance(child, ast.JoinedStr):
            parts = [v.value if isinstance(v, ast.Constant) else "it" for v in child.values]
            text = "".join(str(part) for part in parts)
            for value in child.values:
                yield from _texts(value)
        elif isinstance(child, ast.Constant) and isinstance(child.value, str):
            text = child.value
        else:
            yield from _texts(child)
        if text and _WORDS.search(text) and not _is_code(text):
            yield child.lineno, text


def _is_code(text: str) -> bool:
    try:
        ast.parse(textwrap.dedent(text))
    except SyntaxError:
        return False
    return True


def _comments(text: str) -> Iterator[tuple[int, str]]:
    """Comments. Those of neighbouring lines are one, if nothing stands before them."""
    start, lines, last = 0, [], -2
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT or token.string.startswith("#!"):
            continue
        words = token.string.lstrip("# ").rstrip()
        if _MARKS.match(words):
            continue
        if token.line[: token.start[1]].strip():
            yield token.start[0], words
            continue
        if token.start[0] != last + 1:
            yield start, "\n".join(lines)
            start, lines = token.start[0], []
        lines.append(words)
        last = token.start[0]
    yield start, "\n".join(lines)


def _settings(text: str) -> Iterator[tuple[int, str]]:
    """The comments of YAML, TOML and the Makefile, those of neighbouring lines as one."""
    found = [_COMMENT.search(line) for line in text.splitlines()]
    lines: list[str] = []
    for number, (line, comment) in enumerate(zip(text.splitlines(), found, strict=True), 1):
        alone = comment is not None and line.lstrip().startswith("#")
        if lines and not alone:
            yield number - len(lines), "\n".join(lines)
            lines = []
        if alone:
            lines.append(comment[1])
        elif comment is not None:
            yield number, comment[1]
    yield len(found) - len(lines) + 1, "\n".join(lines)


def _notebook(text: str) -> Iterator[tuple[int, str]]:
    """The prose of a notebook's cells. Lines are counted within the cell."""
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            yield from _markdown(source)
        else:
            yield from _python("\n".join(_without_magics(source)), with_texts=True)


def _without_magics(source: str) -> Iterator[str]:
    for line in source.splitlines():
        yield "pass" if line.startswith(("%", "!")) else line


def _markdown(text: str) -> Iterator[tuple[int, str]]:
    in_code = False
    kept = []
    for line in text.splitlines():
        fence = line.lstrip().startswith("```")
        in_code ^= fence
        is_prose = not (fence or in_code or line.lstrip().startswith(("|", "![", "<")))
        kept.append(line if is_prose else "")
    yield 1, "\n".join(kept)


def _folder(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).parts[:-1]
    return "/".join(parts[: 3 if parts[:1] == ("kernel_src",) else 2]) or "the top level"


def _table() -> None:
    folders = [read_folder(name, paths) for name, paths in files_by_folder().items()]
    everything = [sentence for folder in folders for sentence in folder.sentences]
    shipped = [
        each for folder in folders for each in folder.sentences if "tests" not in folder.name
    ]
    folders += [Folder("all", everything), Folder("all without tests", shipped)]
    print(f"{'folder':32} {'sentences':>9} {'words each':>10} {'semicolons per 100':>18}")
    for folder in folders:
        row = f"{folder.name:32} {len(folder.sentences):9} {folder.words_each:10.1f}"
        print(f"{row} {folder.semicolons_per_100:18.1f}")


if __name__ == "__main__":
    if not sys.argv[1:]:
        _table()
    for argument in sys.argv[1:]:
        for found in sentences(Path(argument).resolve()):
            if found.semicolons or found.words > LONGEST:
                print(f"{argument}:{found.line}: {found.words} words: {found.text}")
