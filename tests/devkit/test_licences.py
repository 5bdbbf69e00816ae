from email.message import Message

import pytest

from devkit.errors import LintError
from devkit.licences import PAGE, licence_of, licences_page


def test_the_page_of_licences_is_current() -> None:
    """What the packages state is what the page says. `make licences` writes it."""
    assert PAGE.read_text(encoding="utf-8") == licences_page()


@pytest.mark.parametrize(
    ("stated", "licence"),
    [
        ({"License-Expression": "MIT"}, "MIT"),
        ({"License": "Apache 2.0"}, "Apache-2.0"),
        ({"License": "Copyright\nand so on"}, "BSD-3-Clause"),
        ({}, "BSD-3-Clause"),
    ],
)
def test_a_licence_is_read_from_what_a_package_states(
    monkeypatch: pytest.MonkeyPatch, stated: dict[str, str], licence: str
) -> None:
    """A text of the licence itself names none. The classifier does then."""
    content = Message()
    content["Classifier"] = "Programming Language :: Python"
    content["Classifier"] = "License :: OSI Approved :: BSD License"
    for key, value in stated.items():
        content[key] = value
    monkeypatch.setattr("devkit.licences.metadata", lambda _: content)
    assert licence_of("a") == licence


def test_a_licence_that_nobody_reviewed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that changes its licence is noticed."""
    content = Message()
    content["License-Expression"] = "AGPL-3.0"
    monkeypatch.setattr("devkit.licences.metadata", lambda _: content)
    with pytest.raises(LintError, match="a: it states the licence 'AGPL-3.0', which nobody"):
        licence_of("a")


def test_a_package_that_is_not_installed_has_no_licence() -> None:
    """It is named."""
    with pytest.raises(LintError, match="no-such-package: it is not installed"):
        licence_of("no-such-package")
