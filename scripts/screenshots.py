"""Pictures of the page for the documentation, of a demo that was left running (``make demo KEEP=1``).

    scripts/screenshots.py http://127.0.0.1:PORT FOLDER/airflow/passwords.json

A rollback is planned so that something waits for approval, and rejected at the end.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from playwright.sync_api import Page

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.page.browser import chromium, sign_in

from triplane.sandbox.airflow import AirflowApi

OUT = Path(__file__).parents[1] / "docs" / "images"
SIZE = {"width": 1440, "height": 900}
ENVIRONMENT = "staging"


def main() -> None:
    """Take all of them, as bob sees them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("server")
    parser.add_argument("passwords", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    passwords = json.loads(arguments.passwords.read_text())
    alice, bob = (AirflowApi(arguments.server, user, passwords[user]) for user in ("alice", "bob"))
    arguments.out.mkdir(parents=True, exist_ok=True)
    done = alice.get("/dags/deploy/dagRuns", order_by="-run_after", state="success")["dag_runs"][0][
        "dag_run_id"
    ]
    asked = alice.trigger("deploy", {"environment": ENVIRONMENT, "action": "rollback"})
    questions = alice.wait_for_question("deploy", asked)
    views = {
        "overview": "overview",
        "approvals": "approvals",
        "changes": f"changes?{_of(asked)}",
        "rollout": f"rollout?{_of(done)}",
        "drift": f"drift?environment={ENVIRONMENT}",
        "history": f"history?environment={ENVIRONMENT}&cloud=aws",
    }
    try:
        with _window(arguments.server, passwords["bob"], "light") as page:
            for name, view in views.items():
                _take(
                    page,
                    f"{arguments.server}/plugin/deployments/triplane/{view}",
                    arguments.out / f"page-{name}.png",
                )
        with _window(arguments.server, passwords["bob"], "dark") as page:
            _take(
                page,
                f"{arguments.server}/plugin/deployments/triplane/overview",
                arguments.out / "page-dark.png",
            )
            _take(
                page,
                f"{arguments.server}/dags/deploy/runs/{quote(done)}",
                arguments.out / "run-dark.png",
                frame=False,
            )
    finally:
        for question in questions:
            bob.answer(question, "Reject")


def _of(run_id: str) -> str:
    return urlencode({"dag_id": "deploy", "run_id": run_id})


@contextmanager
def _window(server: str, password: str, theme: Any) -> Iterator[Page]:
    """Bob's browser, in a theme."""
    with chromium() as browser:
        context = browser.new_context(viewport=SIZE, color_scheme=theme)  # type: ignore[arg-type]
        sign_in(context, server, "bob", password)
        yield context.new_page()


def _take(page: Page, address: str, file: Path, *, frame: bool = True) -> None:
    """A picture of a page of Airflow, once all of it is there."""
    page.goto(address)
    if frame:
        page.frame_locator("iframe").locator("main:not([aria-busy])").wait_for()
    page.wait_for_load_state("networkidle")
    page.screenshot(path=file)
    print(file)


if __name__ == "__main__":
    main()
