"""The page over a real deployment: what workers have written, every view, as the people who took part."""

from __future__ import annotations

import io
import zipfile
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.e2e.deployment.conftest import Installation
from tests.page.browser import Visit, chromium

VIEWS = ("overview", "approvals", "changes?{run}", "rollout?{run}", "drift", "history")


@pytest.mark.campaign
def test_every_view_shows_what_was_deployed(installation: Installation, deployed: str) -> None:
    run = urlencode({"dag_id": "deploy", "run_id": deployed})
    with chromium() as browser:
        window = Visit(installation.airflow, browser, "bob")
        for view in VIEWS:
            window.see(view.format(run=run))
            assert window.page.locator(".problem").count() == 0
            if view.startswith("rollout"):
                assert len(window.page.locator("pre.log").inner_text().splitlines()) > 3

        def get(path: str) -> Any:
            return window.context.request.get(f"{installation.airflow.url}/triplane/api/{path}")

        components = get("overview").json()["components"]
        found = {
            each["address"]: each["cells"]["staging"] for each in components if "staging" in each["cells"]
        }
        known = {(row["cloud"], row["component"]): row for row in installation.rows(deployed).values()}
        assert {(address.split("/")[0], address.partition("/")[2]) for address in found} >= set(known) - {
            (cloud, "leftovers") for cloud in ("aws", "gcp", "azure")
        }
        assert {cell["state"] for cell in found.values()} == {"deployed"}
        changes = get(f"changes?{run}").json()["clouds"]
        assert [each["cloud"] for each in changes] == ["aws", "gcp", "azure"]
        assert all(each["votes"] for each in changes)
        entries = get("history?environment=staging&cloud=aws").json()["entries"]
        assert any(each["kind"] == "authorized" and each["approved_by"] == ["bob"] for each in entries)
        tasks = get(f"rollout?{run}").json()["tasks"]
        assert {"aws", "gcp", "azure", "all"} == {task["cloud"] for task in tasks}
        bundle = get(f"evidence?{urlencode({'run_id': deployed})}").body()
        assert "evidence.md" in zipfile.ZipFile(io.BytesIO(bundle)).namelist()
        window.leave()
