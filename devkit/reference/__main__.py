"""`make schema`: write JSON schemas for editors, and the keys of recipes into docs/."""

import sys

from devkit.arguments import Arguments
from devkit.commands import command
from devkit.editor import schema_path
from kernelkit.files import open_atomically

__all__ = ["main"]


@command("schema")
def main(arguments: list[str] | None = None) -> int:
    """Write each file, and say which."""
    Arguments("schema", "python -m devkit.reference", description=__doc__).parse_args(arguments)
    from devkit.reference.pages import page_path, text_of_page
    from devkit.reference.schemas import SCHEMAS, text_of
    from devkit.reference.sections import PAGES

    made = {schema_path(kind): text_of(kind) for kind in SCHEMAS}
    made |= {page_path(page): text_of_page(page) for page in PAGES}
    for path, text in made.items():
        with open_atomically(path) as file:
            file.write(text)
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
