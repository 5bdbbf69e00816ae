"""Write the JSON schemas, and the keys into the pages (`make schema`)."""

from devkit.editor import schema_path
from devkit.reference.schemas import SCHEMAS, text_of


def main() -> None:
    """Write each file, and say which."""
    for kind in SCHEMAS:
        path = schema_path(kind)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text_of(kind), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
