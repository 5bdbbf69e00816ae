"""How the project's English reads: what is prose in its files, and what of it is too long.

`python -m tests.made.prose` prints a table: per folder, semicolons per 100 sentences and words per
sentence. `python -m tests.made.prose FILE...` lists each sentence that breaks the house's form.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Sentence", "files", "sentences"]

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDERS = ("kernel_src", "devkit", "tests", "benchmarks", "docs", ".")
# in words
LONGEST = 20

_MARKS = re.compile(r"^(type|noqa|pragma|ruff|fmt|mypy)\b")
_SECTION = re.compile(r"^\s*[A-Z][A-Za-z ]+\n\s*-{3,}\s*$", re.MULTILINE)
_CODE = re.compile(r"``[^`]+``|`[^`]+`")
_END = re.compile(r"(?<=[.!?])[\"')*_]*\s+|\n\s*\n|:\s*\n")


@dataclass(frozen=True)
class Sentence:
    """One sentence, and where it stands."""

    path: Path
    line: int
    text: str

    @property
    def words(self) -> int:
        """How many words it has; a piece of code counts as one."""
        return len(re.findall(r"[A-Za-z0-9][^\s]*", self.text))

    @property
    def semicolons(self) -> int:
        """How many semicolons join its clauses."""
        return self.text.count(";")


def files() -> list[Path]:
    """Every file of the project with prose in it."""
    found = [path for folder in FOLDERS[:-1] for path in (REPOSITORY / folder).rglob("*")]
    found += [*REPOSITORY.glob("*.md"), REPOSITORY / "build_dataset.py"]
    return sorted(path for path in found if path.suffix in (".py", ".md"))


def sentences(path: Path) -> Iterator[Sentence]:
    """Iterate over the sentences of docstrings, comments and messages, or of a Markdown file."""
    text = path.read_text(encoding="utf-8")
    blocks = _markdown(text) if path.suffix == ".md" else _python(text)
    for line, block in blocks:
        for part in _END.split(_CODE.sub("code", block)):
            flat = " ".join((part or "").split())
            if len(re.findall(r"[A-Za-z]{2,}", flat)) > 1:
                yield Sentence(path, line, flat)


def _python(text: str) -> Iterator[tuple[int, str]]:
    tree = ast.parse(text)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and (docstring := ast.get_docstring(node)):
            yield getattr(node, "lineno", 1), _without_examples(docstring)
        elif isinstance(node, ast.Raise | ast.Call):
            yield from _messages(node)
    yield from _comments(text)


def _without_examples(docstring: str) -> str:
    kept, in_example = [], False
    for line in docstring.splitlines():
        in_example = line.lstrip().startswith(">>>") or (in_example and bool(line.strip()))
        kept.append("" if in_example or line.lstrip().startswith("|") else line)
    return _SECTION.sub("\n", "\n".join(kept))


def _messages(node: ast.Raise | ast.Call) -> Iterator[tuple[int, str]]:
    """The text of an error that is raised, or of what is printed."""
    call = node.exc if isinstance(node, ast.Raise) else node
    if not isinstance(call, ast.Call):
        return
    if isinstance(node, ast.Call) and getattr(call.func, "id", "") != "print":
        return
    for argument in call.args:
        if isinstance(argument, ast.JoinedStr):
            parts = [v.value if isinstance(v, ast.Constant) else "it" for v in argument.values]
            yield argument.lineno, "".join(str(part) for part in parts)
        elif isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            yield argument.lineno, argument.value


def _comments(text: str) -> Iterator[tuple[int, str]]:
    """Comments, those of neighbouring lines as one."""
    start, lines, last = 0, [], -2
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT or token.string.startswith("#!"):
            continue
        words = token.string.lstrip("# ").rstrip()
        if _MARKS.match(words):
            continue
        if token.start[0] != last + 1:
            if lines:
                yield start, "\n".join(lines)
            start, lines = token.start[0], []
        lines.append(words)
        last = token.start[0]
    if lines:
        yield start, "\n".join(lines)


def _markdown(text: str) -> Iterator[tuple[int, str]]:
    in_code = False
    kept = []
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            in_code = not in_code
            line = ""
        is_prose = not in_code and not line.lstrip().startswith(("|", "![", "<"))
        kept.append(re.sub(r"^\s*([-*#>]+|\d+\.)\s", "\n", line) if is_prose else "")
    number = 1
    for block in re.split(r"(\n\s*\n)", "\n".join(kept)):
        yield number, block
        number += block.count("\n")


def _folder(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).parts[:-1]
    return "/".join(parts[: 3 if parts[:1] == ("kernel_src",) else 2]) or "the top level"


def _table() -> None:
    rows: dict[str, list[Sentence]] = {}
    for path in files():
        rows.setdefault(_folder(path), []).extend(sentences(path))
    rows["all"] = [sentence for found in list(rows.values()) for sentence in found]
    print(f"{'folder':28} {'sentences':>9} {'words each':>10} {'semicolons per 100':>18}")
    for name, found in rows.items():
        words = sum(sentence.words for sentence in found) / max(1, len(found))
        joins = 100 * sum(sentence.semicolons for sentence in found) / max(1, len(found))
        print(f"{name:28} {len(found):9} {words:10.1f} {joins:18.1f}")


if __name__ == "__main__":
    if not sys.argv[1:]:
        _table()
    for argument in sys.argv[1:]:
        for found in sentences(Path(argument).resolve()):
            if found.semicolons or found.words > LONGEST:
                print(f"{argument}:{found.line}: {found.words} words: {found.text}")
