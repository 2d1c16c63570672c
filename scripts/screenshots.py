"""Pictures of the page for the documentation, of a demo that was left running (``make demo KEEP=1``).

scripts/screenshots.py http://127.0.0.1:PORT FOLDER/airflow/passwords.json
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

OUT = Path(__file__).parents[1] / "docs" / "images"
SIZE = {"width": 1440, "height": 900}
VIEWS = {"overview": "overview", "approvals": "approvals", "drift": "drift", "history": "history"}
OF_RUN = {"changes": "changes?{run}", "rollout": "rollout?{run}"}


def main() -> None:
    """Take all of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("server")
    parser.add_argument("passwords", type=Path)
    parser.add_argument("--user", default="bob")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    password = json.loads(arguments.passwords.read_text())[arguments.user]
    arguments.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for theme in ("light", "dark"):
            page = _signed_in(browser, arguments.server, arguments.user, password, theme)
            views = {
                **VIEWS,
                **{name: view.format(run=_run(page, arguments.server)) for name, view in OF_RUN.items()},
            }
            for name, view in views.items():
                if theme == "light" or name == "overview":
                    _picture(page, f"{arguments.server}/plugin/deployments/triplane/{view}")
                    page.screenshot(
                        path=arguments.out / f"page-{name}{'-dark' if theme == 'dark' else ''}.png"
                    )
        browser.close()


def _signed_in(browser: Browser, server: str, user: str, password: str, theme: Any) -> Page:
    context = browser.new_context(viewport=SIZE, color_scheme=theme)  # type: ignore[arg-type]
    answer = context.request.post(f"{server}/auth/token", data={"username": user, "password": password})
    context.add_cookies([{"name": "_token", "value": answer.json()["access_token"], "url": server}])
    return context.new_page()


def _run(page: Page, server: str) -> str:
    """The newest run over all clouds that has changed something."""
    runs = page.context.request.get(f"{server}/triplane/api/runs").json()["runs"]
    found = next(run for run in runs if run["dag_id"] == "deploy")
    return f"dag_id={found['dag_id']}&run_id={found['run_id']}"


def _picture(page: Page, address: str) -> None:
    """Open a view inside Airflow, and wait until all of it is there."""
    page.goto(address)
    page.frame_locator("iframe").locator("main:not([aria-busy])").wait_for()
    page.wait_for_load_state("networkidle")


if __name__ == "__main__":
    main()
