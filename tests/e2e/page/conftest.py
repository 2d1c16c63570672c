"""One Airflow and one browser for all tests of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.page.browser import Visit, chromium
from tests.page.server import serving
from triplane.sandbox.airflow import LocalAirflow


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAirflow]:
    with serving(tmp_path_factory.mktemp("page"), components=1000, rollouts=2) as airflow:
        yield airflow


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def visit(served: LocalAirflow, browser: Browser) -> Iterator[Callable[..., Visit]]:
    """``visit("bob")``: a window in which he is signed in. At the end nothing has left the machine, and nothing broke."""
    visits: list[Visit] = []

    def as_user(user: str = "bob", **options: object) -> Visit:
        visits.append(Visit(served, browser, user, **options))
        return visits[-1]

    yield as_user
    for each in visits:
        each.leave()


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core."""
    import axe_playwright_python

    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
