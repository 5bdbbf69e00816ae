"""`make schema`: write JSON schemas, so that editors complete and check recipes and settings."""

import sys

from devkit.arguments import Arguments
from devkit.commands import command
from devkit.editor import schema_path

__all__ = ["main"]


@command("schema")
def main(arguments: list[str] | None = None) -> int:
    """Write each file, and say which."""
    Arguments("schema", "python -m devkit.reference", description=__doc__).parse_args(arguments)
    from devkit.reference.schemas import SCHEMAS, text_of

    for kind in SCHEMAS:
        path = schema_path(kind)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text_of(kind), encoding="utf-8")
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
