"""The pages at the top of the repository, as pages of the site that mkdocs builds.

mkdocs reads one folder. `CONTRIBUTING.md` and its like lie above it, where people look for them.
They become pages beside those of `docs/`, and links to and from them are put right.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

__all__ = ["ABOVE", "on_files", "on_page_markdown"]

ABOVE = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")

_UP = re.compile(r"\]\((?:\.\./)+(" + "|".join(map(re.escape, ABOVE)) + r")")
_DOWN = re.compile(r"\]\(docs/")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that lie above the folder of the documentation."""
    above = Path(config.docs_dir).parent
    for name in ABOVE:
        files.append(File.generated(config, name, abs_src_path=str(above / name)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to and from these pages to where they are in the site."""
    del config, files
    if page.file.src_uri in ABOVE:
        return _DOWN.sub("](", markdown)
    up = "../" * page.file.src_uri.count("/")
    return _UP.sub(rf"]({up}\1", markdown)
