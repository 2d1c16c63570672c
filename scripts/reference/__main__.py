"""Write the reference pages: ``make docs``."""

from __future__ import annotations

from pathlib import Path

from scripts.reference import cli, configuration, operators, spec

FOLDER = Path(__file__).parents[2] / "docs" / "reference"
PAGES = {
    "spec.md": spec.reference,
    "operators.md": operators.reference,
    "cli.md": cli.reference,
    "configuration.md": configuration.reference,
}


def main() -> None:
    """Write all of them anew."""
    FOLDER.mkdir(exist_ok=True)
    for name, reference in PAGES.items():
        (FOLDER / name).write_text(reference())


if __name__ == "__main__":
    main()
