"""Debian's chromium, and users who look at the page with it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Route, expect, sync_playwright

from triplane.sandbox.airflow import LocalAirflow

WAIT_MS = 90_000
expect.set_options(timeout=WAIT_MS)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a screen."""
    path = shutil.which("chromium")
    assert path, "chromium is missing: run `make setup`, or apt-get install chromium"
    with sync_playwright() as playwright:
        # Tests run as root in containers, where chromium has no sandbox of its own.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def sign_in(context: BrowserContext, server: str, user: str, password: str) -> None:
    """Have a window be a user's."""
    login = {"username": user, "password": password}
    token = context.request.post(f"{server}/auth/token", data=login).json()["access_token"]
    context.add_cookies([{"name": "_token", "value": token, "url": server}])


class Visit:
    """A user in a browser window of his own. What the browser asks other machines for is refused, and kept."""

    def __init__(self, airflow: LocalAirflow, browser: Browser, user: str, **options: object) -> None:
        self.airflow = airflow
        self.elsewhere: list[str] = []
        self.errors: list[str] = []
        self.context: BrowserContext = browser.new_context(**options)  # type: ignore[arg-type]
        self.context.set_default_timeout(WAIT_MS)
        self.context.route(lambda url: not url.startswith(airflow.url), self._refuse)
        sign_in(self.context, airflow.url, user, airflow.password(user))
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self._broke(f"{error} {error.stack}"))
        self.page.on("console", self._said)

    def see(self, view: str) -> None:
        """A view by itself, all there."""
        self.page.goto(f"{self.airflow.url}/triplane/{view}")
        self.page.locator("main:not([aria-busy])").wait_for()

    def leave(self) -> None:
        """Close the window. :raises AssertionError: something was asked of another machine, or broke"""
        self.context.close()
        assert self.elsewhere == []
        assert self.errors == []

    def _refuse(self, route: Route) -> None:
        self.elsewhere.append(route.request.url)
        route.abort()

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._broke(f"{message.text} {message.location.get('url', '')}")

    def _broke(self, text: str) -> None:
        """Keep what is about the page: Airflow's own has errors of its own."""
        if "/triplane/" in text:
            self.errors.append(text)
