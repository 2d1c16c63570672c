"""One Airflow and one browser for all tests of the page."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from tests.page.server import serving
from triplane.sandbox.airflow import LocalAirflow

WAIT_MS = 20_000


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAirflow]:
    with serving(tmp_path_factory.mktemp("page"), components=1000, rollouts=2) as airflow:
        yield airflow


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    assert chromium, "chromium is missing: run `make setup`, or apt-get install chromium"
    with sync_playwright() as playwright:
        # Tests run as root in containers, where chromium has no sandbox of its own.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """A user in a browser window of his own. What the browser asks other machines for is refused, and kept."""

    def __init__(self, airflow: LocalAirflow, browser: Browser, user: str, **options: object) -> None:
        self.airflow = airflow
        self.elsewhere: list[str] = []
        self.errors: list[str] = []
        self.context: BrowserContext = browser.new_context(**options)  # type: ignore[arg-type]
        self.context.set_default_timeout(WAIT_MS)
        self.context.route(lambda url: not url.startswith(airflow.url), self._refuse)
        login = {"username": user, "password": airflow.password(user)}
        answer = self.context.request.post(f"{airflow.url}/auth/token", data=login)
        token = answer.json()["access_token"]
        self.context.add_cookies([{"name": "_token", "value": token, "url": airflow.url}])
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._said)

    def see(self, view: str) -> None:
        """A view by itself, all there."""
        self.page.goto(f"{self.airflow.url}/triplane/{view}")
        self.page.locator("main:not([aria-busy])").wait_for()

    def _refuse(self, route: object) -> None:
        self.elsewhere.append(route.request.url)  # type: ignore[attr-defined]
        route.abort()  # type: ignore[attr-defined]

    def _said(self, message: object) -> None:
        if message.type == "error":  # type: ignore[attr-defined]
            self.errors.append(message.text)  # type: ignore[attr-defined]


@pytest.fixture
def visit(served: LocalAirflow, browser: Browser) -> Iterator[Callable[..., Visit]]:
    """``visit("bob")``: a window in which he is signed in. At the end nothing has left the machine, and nothing broke."""
    visits: list[Visit] = []

    def as_user(user: str = "bob", **options: object) -> Visit:
        visits.append(Visit(served, browser, user, **options))
        return visits[-1]

    yield as_user
    for each in visits:
        each.context.close()
        assert each.elsewhere == []
        assert each.errors == []


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core."""
    import axe_playwright_python

    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
