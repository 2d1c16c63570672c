"""Every route asks who calls, and shows nothing of a DAG that he may not read."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.utils.session import create_session
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from tests.page.auth import READS
from tests.page.world import ASKING, DONE, FAILING, World

from triplane import settings
from triplane.core.errors import RefusedError
from triplane.core.store import ArtifactStore
from triplane.drift import kept
from triplane.ui import database, overview
from triplane.ui.app import VIEWS, application

Client = Callable[[str], TestClient]
API = "/triplane/api"
OF_RUN = f"dag_id=deploy&run_id={ASKING}"
OF_SCOPE = "environment=staging&cloud=aws"
DATA = (
    "overview",
    "runs",
    f"changes?{OF_RUN}",
    f"way-back?{OF_SCOPE}",
    "approvals",
    "drift",
    "history",
    f"verification?{OF_SCOPE}",
    f"evidence?run_id={DONE}",
    f"rollout?{OF_RUN}",
)
PAGES = ("overview", "static/app.js", "static/style.css", "static/icon.svg")


def test_no_route_is_left_out_here() -> None:
    known = {f"/api/{each.partition('?')[0]}" for each in DATA} | {"/", "/{view}", "/static/{name}"}
    assert {route.path for route in application().routes if isinstance(route, APIRoute)} == known


@pytest.mark.parametrize("path", [*(f"api/{each}" for each in DATA), *PAGES, ""])
def test_who_is_not_signed_in_gets_nothing(client: Client, path: str) -> None:
    assert client("").get(f"/triplane/{path}", follow_redirects=False).status_code == 401


@pytest.mark.parametrize("path", DATA)
def test_who_has_no_role_gets_no_data(client: Client, path: str) -> None:
    assert client("nobody").get(f"{API}/{path}").status_code == 403


@pytest.mark.parametrize("path", [*(f"api/{each}" for each in DATA), *PAGES, *VIEWS])
def test_who_may_read_everything_gets_everything(client: Client, path: str) -> None:
    answer = client("bob").get(f"/triplane/{path}")
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    if path.startswith("api/") and "evidence" not in path:
        assert answer.json()["problems"] == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"changes?{OF_RUN}", 403),
        (f"rollout?{OF_RUN}", 403),
        (f"way-back?{OF_SCOPE}", 404),
        (f"verification?{OF_SCOPE}", 404),
        (f"history?{OF_SCOPE}", 404),
        (f"evidence?run_id={DONE}.aws.apply", 404),
    ],
)
def test_what_is_of_another_dag_is_not_there(client: Client, path: str, status: int) -> None:
    assert client("vera").get(f"{API}/{path}").status_code == status


def test_who_may_read_one_cloud_sees_that_cloud_alone(client: Client) -> None:
    vera = client("vera")

    def get(path: str) -> Any:
        return vera.get(f"{API}/{path}").json()

    found = get("overview")
    assert {each["address"].split("/")[0] for each in found["components"]} == {"gcp"}
    assert {each["cloud"] for each in found["scopes"]} == {"gcp"}
    assert (found["runs"], found["waiting"], found["drift"]) == ([], 0, [])
    assert get("approvals")["approvals"] == []
    assert get("drift")["environments"] == []
    assert {each["cloud"] for each in get("history")["scopes"]} == {"gcp"}
    assert [
        each["cloud"] for each in get(f"changes?dag_id=deploy_gcp&run_id={ASKING}.gcp.plan")["clouds"]
    ] == ["gcp"]
    rollout = get(f"rollout?dag_id=deploy_gcp&run_id={FAILING}.gcp.apply")
    assert {each["dag_id"] for each in rollout["tasks"]} == {"deploy_gcp"}
    bundle = zipfile.ZipFile(io.BytesIO(vera.get(f"{API}/evidence?run_id={DONE}").content))
    assert {name for name in bundle.namelist() if name.startswith("ledger/")} == {"ledger/staging/gcp.json"}


@pytest.mark.parametrize(
    "path",
    [
        "api/changes?dag_id=deploy&run_id=none",
        "api/rollout?dag_id=other&run_id=none",
        "static/none.js",
        "none",
        "api/evidence?run_id=none",
        "static/..%2Fapp.py",
    ],
)
def test_what_is_not_there_is_said(client: Client, path: str) -> None:
    assert client("bob").get(f"/triplane/{path}").status_code == 404


def test_nothing_can_be_changed_through_it(client: Client) -> None:
    for route in application().routes:
        if isinstance(route, APIRoute):
            assert route.methods == {"GET"}


def test_files_are_sent_once(client: Client) -> None:
    first = client("bob").get("/triplane/static/app.js")
    again = client("bob").get("/triplane/static/app.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_without_the_key_it_says_what_is_missing(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY")
    for path in ("overview", f"changes?{OF_RUN}", "approvals", "drift", "history"):
        (problem,) = client("bob").get(f"{API}/{path}").json()["problems"]
        assert "AIRFLOW__TRIPLANE__ARTIFACT_KEY" in problem
    assert len(client("bob").get(f"{API}/overview").json()["components"]) == 12


def test_a_forged_xcom_shows_nothing_that_is_no_change_set(world: World, client: Client) -> None:
    """XComs can be edited: a digest of something else in the artifact store opens nothing."""
    secret = settings.artifact_store().put(json.dumps({"password": "hunter2"}).encode())
    with create_session() as session:
        world.session = session
        world.run("deploy", "manual__forged", "staging", "failed", datetime.now(UTC))
        world.tasks("deploy", "manual__forged", {"change_sets": "success"}, None, limit=0)
        world.xcom("deploy", "manual__forged", "change_sets", "change_sets", {"aws": secret})
    found = client("bob").get(f"{API}/changes?dag_id=deploy&run_id=manual__forged")
    assert "hunter2" not in found.text
    assert found.json()["clouds"] == []
    assert "is not a change set" in found.json()["problems"][0]


def test_an_xcom_makes_no_objects(world: World, client: Client) -> None:
    """Airflow's own decoder would import the class and make one of it."""
    named = {
        "__classname__": "airflow.sdk.definitions.asset.Asset",
        "__version__": 1,
        "__data__": {"name": "a"},
    }
    with create_session() as session:
        world.session = session
        world.run("deploy", "manual__object", "staging", "failed", datetime.now(UTC))
        world.tasks("deploy", "manual__object", {"change_sets": "success"}, None, limit=0)
        world.xcom("deploy", "manual__object", "change_sets", "change_sets", json.dumps(named))
        (found,) = database.xcoms(session, [("deploy", "manual__object")], "change_sets").values()
    assert found == named


def test_who_may_read_the_drift_check_and_one_cloud_sees_the_drift_of_that_cloud_alone(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(READS, "vera", {"deploy_gcp", "drift_check"})
    found = client("vera").get(f"{API}/drift").json()["environments"][0]
    assert found["report"]["unknown"] == 1
    assert not [cloud for cloud in ("aws/", "azure/") if cloud in json.dumps(found)]
    assert found["history"] == []
    (age,) = client("vera").get(f"{API}/overview").json()["drift"]
    assert age["expected"] == found["report"]["coverage"]["expected"] == 4


def test_a_drift_report_of_another_platform_is_not_shown(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before one of them has deployed, two platforms may check environments of the same name."""
    report = kept.report("staging")
    assert report is not None
    monkeypatch.setattr(kept, "report", lambda environment: {**report, "platform": "other"})
    bob = client("bob")
    assert {each["report"] for each in bob.get(f"{API}/drift").json()["environments"]} == {None}
    found = bob.get(f"{API}/overview").json()
    assert found["drift"] == []
    assert {cell["drift"] for each in found["components"] for cell in each["cells"].values()} == {""}


@pytest.mark.parametrize("owner", [b"other", None])
def test_nothing_is_shown_of_an_environment_of_another_platform_or_of_nobody_knows_whom(
    client: Client, monkeypatch: pytest.MonkeyPatch, owner: bytes | None
) -> None:
    def get_named(store: ArtifactStore, name: str) -> bytes | None:
        if name != "environments/staging":
            return before(store, name)
        if owner is None:
            raise RefusedError("its key is gone")
        return owner

    before = ArtifactStore.get_named
    monkeypatch.setattr(ArtifactStore, "get_named", get_named)
    bob = client("bob")
    for path in (f"way-back?{OF_SCOPE}", f"verification?{OF_SCOPE}", f"history?{OF_SCOPE}"):
        assert bob.get(f"{API}/{path}").status_code == 404
    assert bob.get(f"{API}/evidence?run_id={DONE}").status_code == (404 if owner else 409)
    found = bob.get(f"{API}/overview").json()
    assert {each["environment"] for each in found["scopes"]} == {"prod"}
    assert found["problems"] == ([] if owner else ["its key is gone"])


def test_a_ledger_that_cannot_be_read_is_a_problem(client: Client, home: Path) -> None:
    entry = home / "store" / "ledger" / "staging" / "aws" / "00000000.json"
    before = entry.read_bytes()
    entry.write_text('{"number": 0}')
    try:
        bob = client("bob")
        assert bob.get(f"{API}/evidence?run_id={DONE}").status_code == 409
        for path in ("verification", "history", "way-back"):
            assert bob.get(f"{API}/{path}?{OF_SCOPE}").json()["problems"]
    finally:
        entry.write_bytes(before)


def test_the_last_rollout_is_known_long_after(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many runs may have come after it: what it has deployed says which one it was."""
    monkeypatch.setattr(overview, "LOOKED_AT", 0)
    scopes = client("bob").get(f"{API}/overview").json()["scopes"]
    assert {each["last"]["run_id"] for each in scopes if each["environment"] == "staging"} == {
        f"{DONE}.{cloud}.apply" for cloud in ("aws", "gcp", "azure")
    }
