"""How a dataset is listed on Kaggle, within the official client's own bounds."""

import argparse
import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from devkit.errors import DatasetError
from devkit.image.profiles import Profile
from devkit.kaggle.marks import CLIENT_FILE, Marks
from kernelkit.files import open_atomically

__all__ = [
    "CLIENT_FILE",
    "Listing",
    "add_listing_options",
    "default_listing",
    "listing_from",
    "mark",
    "proved_fingerprint",
    "read_listing",
]

# as the documentation of dataset-metadata.json lists them
_LICENCES = frozenset(
    (
        *("CC0-1.0", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0"),
        *("CC-BY-ND-4.0", "CC-BY-NC-ND-4.0", "CC-BY-NC-SA-4.0", "GPL-2.0", "GPL-3.0", "AGPL-3.0"),
        *("LGPL-3.0", "FDL-1.3", "apache-2.0", "ODbL-1.0", "DbCL-1.0", "ODC-BY-1.0", "PDDL"),
        *("CDLA-Permissive-1.0", "CDLA-Sharing-1.0", "US-Government-Works", "EU-ODP-Legal-Notice"),
        *("copyright-authors", "other", "unknown"),
    )
)


@dataclass(frozen=True)
class Listing:
    """How a dataset is listed on Kaggle.

    Attributes
    ----------
    owner, slug
        Its address is `owner/slug`.
    title, subtitle
        As its page shows them.
    licence
        Kaggle's own name for it.
    """

    owner: str
    slug: str
    title: str
    subtitle: str
    licence: str = "apache-2.0"

    def problems(self) -> list[str]:
        """Return what Kaggle would refuse, one sentence per problem."""
        bounds = (
            ("title", self.title, 6, 50),
            ("slug", self.slug, 6, 50),
            ("subtitle", self.subtitle, 20, 80),
        )
        found = [
            f"The {what} '{text}' has {len(text)} characters, Kaggle wants {least} to {most}"
            for what, text, least, most in bounds
            if not least <= len(text) <= most
        ]
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.slug):
            found.append(f"The slug '{self.slug}' may have only a-z, 0-9 and single '-'")
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.owner):
            found.append(f"'{self.owner}' is no user of Kaggle")
        if self.licence not in _LICENCES:
            found.append(
                f"Kaggle knows no licence '{self.licence}', only {', '.join(sorted(_LICENCES))}"
            )
        return found

    def as_metadata(self) -> dict[str, object]:
        """Return the contents of `dataset-metadata.json`."""
        return {
            "id": f"{self.owner}/{self.slug}",
            "title": self.title,
            "subtitle": self.subtitle,
            "licenses": [{"name": self.licence}],
        }


class _Licence(BaseModel):
    name: str


class _Metadata(BaseModel):
    """What the client's own file says."""

    model_config = ConfigDict(extra="allow")

    id: Annotated[str, StringConstraints(pattern="^[^/]+/[^/]+$")]
    title: str
    subtitle: str
    licenses: Annotated[list[_Licence], Field(min_length=1)]
    kernelkit: Marks = Marks()


def default_listing(profile: Profile, slug: str = "") -> Listing:
    """Return how the dataset of a profile is listed by default.

    Parameters
    ----------
    profile
        The image.
    slug
        The dataset's name for a competition of the user's own, which is its title too.
    """
    return Listing(
        owner="your-name",
        slug=slug or f"kernelkit-{profile.name}"[:50],
        title=slug.replace("-", " ") or f"kernelkit for {profile.name}"[:50],
        subtitle=f"Modules and wheels of an offline notebook, for {profile.name}"[:80],
    )


def read_listing(folder: Path) -> Listing:
    """Read from the client's own file how the dataset in `folder` will be listed.

    Raises
    ------
    DatasetError
        The file is missing, or does not say it.
    """
    metadata = _read(folder)
    owner, _, slug = metadata.id.partition("/")
    return Listing(owner, slug, metadata.title, metadata.subtitle, metadata.licenses[0].name)


def mark(folder: Path, **notes: object) -> None:
    """Note something of a dataset in the client's file, beside what is noted there.

    The notes themselves are not uploaded.

    Parameters
    ----------
    folder
        The dataset.
    notes
        Attributes of `Marks`. Of what was proved, `make push` uploads no other dataset.
    """
    metadata = _read(folder)
    marks = metadata.kernelkit.model_copy(update=notes)
    noted = {"kernelkit": marks.model_dump(mode="json", exclude_defaults=True)}
    with open_atomically(folder / CLIENT_FILE) as file:
        content = metadata.model_dump(exclude={"kernelkit"}) | noted
        file.write(json.dumps(content, indent=1, sort_keys=True) + "\n")


def proved_fingerprint(folder: Path) -> str:
    """Return the fingerprint that was proved, or nothing if none was."""
    try:
        return _read(folder).kernelkit.proved
    except DatasetError:
        return ""


def _read(folder: Path) -> _Metadata:
    path = folder / CLIENT_FILE
    try:
        return _Metadata.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be read: {error.strerror}. Build the dataset again"
        ) from None
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"])) or "it"
        raise DatasetError(
            f"{path}: {place} is not as the client wants it ({problem['msg']}). "
            "Build the dataset again"
        ) from None


def add_listing_options(parser: argparse.ArgumentParser) -> None:
    """Let a command line say how the dataset is to be listed."""
    group = parser.add_argument_group("how the dataset is listed on Kaggle")
    group.add_argument("--owner", help="user of Kaggle (default: $KAGGLE_USERNAME)")
    group.add_argument("--slug", help="last part of the dataset's address")
    group.add_argument("--title", help="title of the dataset's page, 6 to 50 characters")
    group.add_argument("--subtitle", help="one line below the title, 20 to 80 characters")
    group.add_argument("--licence", help="by Kaggle's name for it (default: apache-2.0)")


def listing_from(options: argparse.Namespace, default: Listing) -> Listing:
    """Return `default` with what the command line, or the environment, says instead."""
    owner = options.owner or os.environ.get("KAGGLE_USERNAME")
    told = {name: getattr(options, name) for name in ("slug", "title", "subtitle", "licence")}
    return replace(default, **{k: v for k, v in {**told, "owner": owner}.items() if v})
