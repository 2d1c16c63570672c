"""Schedules by Logic Apps through the operators, against the sandbox."""

from __future__ import annotations

import io
import uuid
import zipfile
from typing import Any

import pytest
import requests
from airflow.sdk.exceptions import AirflowFailException

from tests.azure_events import Server
from tests.event_sources import Tasks, life, store
from triplane.clouds import azure
from triplane.sandbox.azure.part import GROUP, LOCATION
from triplane.sandbox.runtime import Sandbox

OPTIONS = {
    "url": "https://example.org/nightly",
    "cron": "0 6 * * MON-FRI",
    "timezone": "Europe/Berlin",
    "payload": {"who": "@me", "text": "@{no expression}"},
    "retries": 2,
}
CODE = """
import azure.functions as func
app = func.FunctionApp()
@app.route(route="hook", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
def hook(req):
    return func.HttpResponse(status_code=200 if req.get_json() == {"who": "@me"} else 418)
"""


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, cloud_env: dict[str, str]) -> Tasks:
    store(monkeypatch, tmp_path)
    place = {"region": LOCATION, "resource_group": GROUP}
    return Tasks("logic_apps", f"nightly-{uuid.uuid4().hex[:8]}", OPTIONS, place)


@pytest.fixture
def server(sandbox: Sandbox) -> Server:
    return Server(sandbox)


def client() -> Any:
    from azure.mgmt.logic import LogicManagementClient

    return azure.client(LogicManagementClient, "azure_default")


def workflow(tasks: Tasks) -> Any:
    return client().workflows.get(GROUP, tasks.name)


def test_the_life_of_a_schedule(tasks: Tasks) -> None:
    def by_hand() -> None:
        found = workflow(tasks)
        found.definition["triggers"]["schedule"]["recurrence"]["interval"] = 2
        found.tags = {"team": "data"}
        client().workflows.create_or_update(GROUP, tasks.name, found)

    life(tasks, update={"retries": 5}, by_hand=by_hand, seen=["schedule"])


def test_what_is_not_ours_stays(tasks: Tasks) -> None:
    tasks.deploy()
    found = workflow(tasks)
    found.tags, found.identity = {"team": "data"}, {"type": "SystemAssigned"}
    client().workflows.create_or_update(GROUP, tasks.name, found)
    assert tasks.deploy(retries=5)["state"] == "deployed"
    found = workflow(tasks)
    assert (found.tags, found.identity.type) == ({"team": "data"}, "SystemAssigned")
    client().workflows.disable(GROUP, tasks.name)
    assert tasks.plan(retries=5)["lines"] == ["enabled: False -> True"]
    tasks.delete()


def test_it_really_calls_the_function(tasks: Tasks) -> None:
    from azure.mgmt.web import WebSiteManagementClient

    name = f"f{uuid.uuid4().hex[:10]}"
    apps = azure.client(WebSiteManagementClient, "azure_default").web_apps
    apps.begin_create_or_update(GROUP, name, {"location": LOCATION, "properties": {}}).result()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("host.json", "{}")
        archive.writestr("function_app.py", CODE)
    headers = {"Authorization": f"Bearer {azure.manager_tokens('azure_default')()}"}
    url = f"https://{name}.scm.azurewebsites.net/api/zipdeploy"
    requests.post(url, data=buffer.getvalue(), headers=headers, timeout=60).raise_for_status()
    tasks.options = {"function": name, "path": "/api/hook", "every": 900, "payload": {"who": "@me"}}
    tasks.deploy()
    client().workflow_triggers.run(GROUP, tasks.name, "schedule")
    assert [run.status for run in client().workflow_runs.list(GROUP, tasks.name)] == ["Succeeded"]
    tasks.deploy(payload={"who": "you"})
    client().workflow_triggers.run(GROUP, tasks.name, "schedule")
    statuses = sorted(run.status for run in client().workflow_runs.list(GROUP, tasks.name))
    assert statuses == ["Failed", "Succeeded"]
    tasks.delete()
    apps.delete(GROUP, name)


def test_an_update_that_fails_is_rolled_back(tasks: Tasks, server: Server) -> None:
    tasks.deploy()
    before = workflow(tasks)
    change = tasks.plan(url="nowhere")
    with pytest.raises(AirflowFailException, match="uri 'nowhere'"):
        tasks.apply(change, url="nowhere")
    assert tasks.pushed[-1]["state"] == "rolled_back"
    assert workflow(tasks).as_dict() == before.as_dict()

    change = tasks.plan(retries=9)
    server.fault(path=tasks.name, method="PUT", status=400, code="Bad", message="No.", lost=True)
    with pytest.raises(AirflowFailException, match=r"No\."):
        tasks.apply(change, retries=9)
    assert tasks.pushed[-1]["state"] == "rolled_back"
    assert workflow(tasks).definition == before.definition
    assert tasks.plan()["action"] == "none"
    tasks.delete()


def test_a_first_deployment_that_fails_leaves_nothing(tasks: Tasks, server: Server) -> None:
    change = tasks.plan()
    server.fault(path=tasks.name, method="PUT", status=400, code="Bad", message="No.", lost=True)
    with pytest.raises(AirflowFailException, match=r"No\."):
        tasks.apply(change)
    assert tasks.pushed[-1]["state"] == "failed"
    assert tasks.plan()["action"] == "create"
