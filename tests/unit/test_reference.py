"""The reference pages are those of this code, and say something of everything."""

from __future__ import annotations

import re

import pytest
from scripts.reference.__main__ import FOLDER, PAGES


@pytest.mark.parametrize("name", PAGES)
def test_page_is_that_of_the_code(name: str) -> None:
    assert (FOLDER / name).read_text() == PAGES[name](), "the code has changed: run `make docs`"


@pytest.mark.parametrize("name", PAGES)
def test_everything_has_a_meaning(name: str) -> None:
    rows = re.findall(r"^\| .* \|$", (FOLDER / name).read_text(), re.M)
    assert rows
    assert [row for row in rows if re.search(r"\|\s*\|", row)] == []
