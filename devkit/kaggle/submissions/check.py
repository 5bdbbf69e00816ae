"""A submission checked as the competition would check it, before anything is sent.

The competition's sample says which columns and ids it wants. The recipe says how its masks become
text. The images lie on Kaggle, so their sizes are not known here. All that can be checked without
them is checked.
"""

import tempfile
from pathlib import Path
from typing import Any

from devkit.errors import KaggleError
from devkit.kaggle.notebook.kernel import KernelVersion
from devkit.kaggle.notebook.output import fetch_submissions
from devkit.kaggle.service.client import Client
from kernelkit.errors import SubmissionError
from kernelkit.recipe import Competition, Recipe

__all__ = ["SubmissionCheck", "fetch_checked"]

_SAMPLE = "sample_submission.csv"


class SubmissionCheck:
    """What the settings' competition wants of a submission.

    Parameters
    ----------
    client
        The client, signed in. The sample is fetched with it, once.

    Raises
    ------
    KaggleError
        The sample that Kaggle sent is no table.
    SubmissionError
        The sample has other columns than the recipe of this very competition.
    """

    def __init__(self, client: Client) -> None:
        self._slug = client.settings.competition
        own = client.settings.loaded_recipe.competition
        same = (Recipe.load(name).competition for name in Recipe.names())
        found = own if own.slug == self._slug else None
        found = found or next((other for other in same if other.slug == self._slug), None)
        self._convention: Competition | None = found or own
        self._ids: list[str] | None = None
        self._columns = list(self._convention.header)
        sample = self._sample(client, self._convention.sample if found else _SAMPLE)
        if sample is None:
            client.say(f"no sample of {self._slug} can be fetched, so the ids are not checked")
            return
        columns, *rows = sample
        differ = sorted(columns) != sorted(self._columns)
        if differ and found is not None:
            raise SubmissionError(
                f"the sample of {self._slug} has the columns {columns}, and the recipe has "
                f"{self._columns}. Correct id_column, rle_column and columns in the recipe"
            )
        if differ:
            client.say(f"no recipe is for {self._slug}, so only columns and ids are checked")
            self._convention = None
        self._columns = columns
        at_id = 0 if self._convention is None else columns.index(self._convention.id_column)
        self._ids = [row[at_id] for row in rows]
        if self._convention is not None and self._convention.rle.instances == "rows":
            self._ids = list(dict.fromkeys(self._ids))

    def rows(self, path: Path) -> int:
        """Check a file, plain or compressed, and count its rows.

        Raises
        ------
        SubmissionError
            The competition would refuse it. The error names the file and what is wrong in it.
        """
        # it imports numba, which takes a second: the other commands need not wait for that
        from kernelkit.competition import check_rows, check_submission, submission_rows

        if self._convention is None:
            return sum(1 for _ in check_rows(path, self._columns, self._ids))
        check_submission(path, self._ids, {}, self._convention, self._columns)
        return sum(1 for _ in submission_rows(path)) - 1

    def _sample(self, client: Client, name: str) -> list[list[str]] | None:
        """The sample's header and rows. None if there is no sample to fetch."""
        from kernelkit.competition import submission_rows

        with tempfile.TemporaryDirectory() as folder:

            def fetch(api: Any) -> None:
                api.competition_download_file(self._slug, name, folder, force=True, quiet=True)

            client.find(f"fetch {name} of {self._slug}", fetch)
            path = next(iter(sorted(Path(folder).iterdir())), None)
            if path is None:
                return None
            try:
                rows = [row for row in submission_rows(path) if row]
            except SubmissionError as error:
                problem = str(error).removeprefix(f"{path}: ")
                raise KaggleError(_odd_sample(name, self._slug, problem)) from error
        if len(rows) < 2 or len(rows[0]) < 2:
            raise KaggleError(_odd_sample(name, self._slug, "it has no row of two columns"))
        if any(len(row) != len(rows[0]) for row in rows):
            raise KaggleError(_odd_sample(name, self._slug, "its rows have different lengths"))
        return rows


def fetch_checked(client: Client, version: KernelVersion) -> list[Path]:
    """Fetch the submissions of a run, as `fetch_submissions` does, and check each.

    Raises
    ------
    KaggleError
        The run left one of them not, or Kaggle did not send it whole.
    SubmissionError
        The competition would refuse one of them.
    OutputError
        The output folder cannot be written.
    """
    paths = fetch_submissions(client, version)
    check = SubmissionCheck(client)
    for path in paths:
        client.say(f"{path}: checked, {check.rows(path)} rows")
    if others := " ".join(map(str, paths[1:])):
        queue = client.settings.command("queue", FILES=others)
        client.say(f"each of them is submitted by: {queue}")
    return paths


def _odd_sample(name: str, slug: str, problem: str) -> str:
    return (
        f"{name} of {slug} came from Kaggle, but it is no sample submission: {problem}. Run the "
        "same command again. If it stays so, look at the competition's page"
    )
