"""The documentation's site builds without a warning, and stays with itself."""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from devkit.site import ABOVE
from devkit.tools import REPOSITORY

# Hosts that a reader may be led to by a link.
INTENDED = {"distributed.dask.org", "github.com", "www.kaggle.com"}


class Addresses(HTMLParser):
    """What a page loads, and where its links lead."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []
        self.names: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.names |= {given[name] for name in ("id", "name") if name in given}
        for name in ("src", "srcset", "data", "action", "href"):
            if name in given:
                (self.linked if tag == "a" else self.loaded).append(given[name])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it, in another folder."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        # with --quiet it would count no warning
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=REPOSITORY,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_a_link_that_leads_nowhere_ends_the_build(tmp_path: Path) -> None:
    """The command that `make docs` runs fails, with the page and the link."""
    command = re.search(r"^docs:.*\n\t@(.*)$", (REPOSITORY / "Makefile").read_text(), re.M)
    assert command is not None
    for name in ("docs", "devkit", "mkdocs.yml", *ABOVE):
        source = REPOSITORY / name
        copied = shutil.copytree if source.is_dir() else shutil.copy2
        copied(source, tmp_path / name)
    with (tmp_path / "docs" / "maps.md").open("a") as page:
        page.write("[a](nowhere.md) [b](tuning.md#nowhere)")
    done = subprocess.run(
        ["bash", "-c", command[1].replace("$(PYTHON)", sys.executable)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "maps.md" in done.stderr
    assert "nowhere.md" in done.stderr
    assert "#nowhere" in done.stderr


def test_each_page_is_there(site: Path) -> None:
    """Each page of `docs/`, and each of the pages above it, is a file that opens from the disk."""
    docs = REPOSITORY / "docs"
    pages = [path.relative_to(docs) for path in docs.rglob("*.md")]
    for page in [*pages, *map(Path, ABOVE)]:
        assert (site / page.with_suffix(".html")).is_file(), page


def test_nothing_is_loaded_from_another_host(site: Path) -> None:
    """Each script, style, font and picture of each page is a file of the site."""
    for page in site.rglob("*.html"):
        for address in Addresses(page).loaded:
            parts = urlsplit(address)
            assert not parts.scheme, f"{page}: {address}"
            assert not parts.netloc, f"{page}: {address}"
            if parts.path and page.name != "404.html":
                assert (page.parent / unquote(parts.path)).exists(), f"{page}: {address}"
        assert 'class="mermaid"' not in page.read_text(), "its script would come from a host"
    for style in site.rglob("*.css"):
        assert "url(http" not in style.read_text(), style
        assert "@import" not in style.read_text(), style


def test_links_lead_where_they_say(site: Path) -> None:
    """Each link leads to a part of a page of the site, or to a host that is intended."""
    pages = {page: Addresses(page) for page in site.rglob("*.html") if page.name != "404.html"}
    for page, found in pages.items():
        for address in found.linked:
            parts = urlsplit(address)
            if parts.netloc:
                assert parts.scheme == "https", f"{page}: {address}"
                assert parts.netloc in INTENDED, f"{page}: {address}"
            elif not parts.scheme:
                target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
                target = target / "index.html" if target.is_dir() else target
                assert target in pages, f"{page}: {address}"
                assert not parts.fragment or parts.fragment in pages[target].names, address
