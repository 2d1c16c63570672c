"""Logic Apps and Event Hubs in the sandbox: what is accepted, and the errors for what is not."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest
from tests.azure_lab import GROUP, LOCATION, SCOPE, Lab, lab
from tests.unit.sandbox.azure_cloud.conftest import contract_file

__all__ = ["contract_file"]

LOGIC, HUBS = "2019-05-01", "2024-01-01"
WORKFLOW = f"{SCOPE}/Microsoft.Logic/workflows/nightly"
NAMESPACE = f"{SCOPE}/Microsoft.EventHub/namespaces/streaming"
HUB = f"{NAMESPACE}/eventhubs/orders"
GROUPS = f"{HUB}/consumergroups"
ECHO = """
import azure.functions as func
app = func.FunctionApp()
@app.route(route="hook", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
def hook(req):
    return func.HttpResponse(status_code=200 if req.get_body() == b'{"who": "@me"}' else 418)
"""


@pytest.fixture
def cloud(tmp_path: Any, contract_file: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    with lab(tmp_path, contract_file, monkeypatch) as found:
        yield found


def workflow(uri: str = "https://example.org/", **more: Any) -> dict[str, Any]:
    recurrence = {"frequency": "Day", "interval": 1, **more.pop("recurrence", {})}
    inputs = {"method": "POST", "uri": uri, "body": {"who": "@@me"}, **more.pop("inputs", {})}
    definition = {
        "$schema": "https://schema.management.azure.com/workflowdefinition.json#",
        "contentVersion": "1.0.0.0",
        "triggers": {"schedule": {"type": "Recurrence", "recurrence": recurrence}},
        "actions": {"call": {"type": "Http", "runAfter": {}, "inputs": inputs}},
        **more.pop("definition", {}),
    }
    return {"location": LOCATION, "properties": {"definition": definition, **more}}


def error(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_workflow_is_kept_switched_and_deleted(cloud: Lab) -> None:
    made = cloud.arm("PUT", WORKFLOW, workflow(), LOGIC)
    assert (made.status_code, made.json()["properties"]["provisioningState"]) == (201, "Succeeded")
    assert cloud.arm("PUT", WORKFLOW, workflow(), LOGIC).status_code == 200
    assert cloud.arm("POST", f"{WORKFLOW}/disable", version=LOGIC).status_code == 200
    read = cloud.arm("GET", WORKFLOW, version=LOGIC).json()["properties"]
    assert (read["state"], read["createdTime"]) == ("Disabled", made.json()["properties"]["createdTime"])
    assert error(cloud.arm("POST", f"{WORKFLOW}/triggers/schedule/run", version=LOGIC))[0] == 409
    assert cloud.arm("POST", f"{WORKFLOW}/enable", version=LOGIC).status_code == 200
    assert cloud.arm("PATCH", WORKFLOW, {"tags": {"a": "b"}}, LOGIC).json()["tags"] == {"a": "b"}
    listed = cloud.arm("GET", WORKFLOW.rpartition("/")[0], version=LOGIC).json()["value"]
    assert [(item["name"], item["properties"]["state"]) for item in listed] == [("nightly", "Enabled")]
    assert cloud.arm("DELETE", WORKFLOW, version=LOGIC).status_code == 200
    assert error(cloud.arm("GET", WORKFLOW, version=LOGIC)) == (404, "ResourceNotFound")
    assert cloud.arm("DELETE", WORKFLOW, version=LOGIC).status_code == 204


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({**workflow(), "colour": "red"}, "Could not find member 'colour'"),
        (workflow(colour="red"), "Could not find member 'colour'"),
        (workflow(state="Sleeping"), "WorkflowState"),
        ({"location": LOCATION, "properties": {}}, "definition is missing"),
        ({"properties": workflow()["properties"]}, "location property is required"),
        (workflow(definition={"colour": "red"}), "'colour' of the definition"),
        (workflow(recurrence={"frequency": "Fortnight"}), "frequency 'Fortnight'"),
        (workflow(recurrence={"interval": 0}), "interval '0'"),
        (workflow(recurrence={"frequency": "Hour", "schedule": {"hours": [1]}}), "frequency of Day or more"),
        (workflow(uri="nowhere"), "uri 'nowhere'"),
        (workflow(inputs={"method": "SHOUT"}), "method 'SHOUT'"),
        (workflow(inputs={"retryPolicy": {"type": "fixed", "count": 91}}), "retry policy"),
    ],
)
def test_a_workflow_that_is_refused(cloud: Lab, body: Any, says: str) -> None:
    answer = cloud.arm("PUT", WORKFLOW, body, LOGIC)
    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]
    assert cloud.arm("GET", WORKFLOW, version=LOGIC).status_code == 404


def test_a_trigger_that_is_run_calls_the_function(cloud: Lab) -> None:
    site = f"{SCOPE}/Microsoft.Web/sites/hook"
    assert cloud.arm("PUT", site, {"location": LOCATION, "properties": {}}).ok
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("host.json", "{}")
        archive.writestr("function_app.py", ECHO)
    headers = {"Authorization": f"Bearer {cloud.token()}"}
    url = "https://hook.scm.azurewebsites.net/api/zipdeploy"
    assert cloud.request("POST", url, data=buffer.getvalue(), headers=headers).ok
    statuses = []
    for path in ("api/hook", "api/nothing"):
        address = f"https://hook.azurewebsites.net/{path}"
        assert cloud.arm("PUT", WORKFLOW, workflow(address), LOGIC).ok
        assert cloud.arm("POST", f"{WORKFLOW}/triggers/schedule/run", version=LOGIC).ok
        runs = cloud.arm("GET", f"{WORKFLOW}/runs", version=LOGIC).json()["value"]
        statuses.append(sorted(json.dumps(run["properties"]["outputs"]["status"]["value"]) for run in runs))
    assert statuses == [["[200]"], ["[200]", "[404]"]]


def test_a_stale_etag_is_refused(cloud: Lab) -> None:
    cloud.arm("PUT", WORKFLOW, workflow(), LOGIC)
    etag = cloud.arm("GET", WORKFLOW, version=LOGIC).headers["ETag"]
    url = f"https://management.azure.com{WORKFLOW}?api-version={LOGIC}"
    headers = {"Authorization": f"Bearer {cloud.token()}", "If-Match": etag}
    assert cloud.request("PUT", url, json=workflow(state="Disabled"), headers=headers).status_code == 200
    assert error(cloud.request("PUT", url, json=workflow(), headers=headers)) == (412, "PreconditionFailed")
    assert error(cloud.request("DELETE", url, headers=headers)) == (412, "PreconditionFailed")


def made_hub(cloud: Lab, tier: str = "Standard") -> None:
    body = {"location": LOCATION, "sku": {"name": tier}, "properties": {}}
    assert cloud.arm("PUT", NAMESPACE, body, HUBS).status_code == 201
    answer = cloud.arm("PUT", HUB, {"properties": {"partitionCount": 2}}, HUBS)
    assert (answer.status_code, answer.json()["properties"]["partitionIds"]) == (200, ["0", "1"])


def test_consumer_groups(cloud: Lab) -> None:
    made_hub(cloud)
    body = {"properties": {"userMetadata": "mine"}}
    assert cloud.arm("PUT", f"{GROUPS}/one", body, HUBS).status_code == 200
    assert cloud.arm("GET", f"{GROUPS}/one", version=HUBS).json()["properties"]["userMetadata"] == "mine"
    names = [item["name"] for item in cloud.arm("GET", GROUPS, version=HUBS).json()["value"]]
    assert names == ["$Default", "one"]
    assert error(cloud.arm("DELETE", f"{GROUPS}/$Default", version=HUBS)) == (400, "BadRequest")
    assert cloud.arm("DELETE", f"{GROUPS}/one", version=HUBS).status_code == 200
    assert cloud.arm("DELETE", f"{GROUPS}/one", version=HUBS).status_code == 204
    assert error(cloud.arm("PUT", f"{NAMESPACE}/eventhubs/none/consumergroups/x", body, HUBS))[0] == 404
    for number in range(19):
        assert cloud.arm("PUT", f"{GROUPS}/g{number}", {"properties": {}}, HUBS).ok
    assert error(cloud.arm("PUT", f"{GROUPS}/g19", {"properties": {}}, HUBS)) == (403, "QuotaExceeded")
    cloud.fault(path="/consumergroups/", method="PUT", status=429, code="TooManyRequests", retry_after=7)
    slow = cloud.arm("PUT", f"{GROUPS}/g1", {"properties": {}}, HUBS)
    assert (slow.status_code, slow.headers["Retry-After"]) == (429, "7")
    cloud.arm("DELETE", HUB, version=HUBS)
    assert cloud.arm("GET", f"{GROUPS}/g1", version=HUBS).status_code == 404


def test_a_basic_namespace_has_the_default_group_only(cloud: Lab) -> None:
    made_hub(cloud, "Basic")
    assert error(cloud.arm("PUT", f"{GROUPS}/one", {"properties": {}}, HUBS)) == (403, "QuotaExceeded")


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        (GROUPS + "/one", {"properties": {"colour": "red"}}, "Could not find member 'colour'"),
        (GROUPS + "/-one", {"properties": {}}, "not a valid name"),
        (HUB, {"properties": {"partitionCount": 33}}, "partition count"),
        (HUB, {"properties": {"partitionCount": 3}}, "cannot be changed"),
        (HUB, {"properties": {"status": "Asleep"}}, "Asleep"),
        (f"{SCOPE}/Microsoft.EventHub/namespaces/other", {"properties": {}}, "location property"),
        (NAMESPACE, {"location": LOCATION, "sku": {"name": "Huge"}}, "Huge"),
        (NAMESPACE, {"location": LOCATION, "sku": {}}, "Required property 'sku.name'"),
    ],
)
def test_what_event_hubs_refuses(cloud: Lab, path: str, body: Any, says: str) -> None:
    made_hub(cloud)
    answer = cloud.arm("PUT", path, body, HUBS)
    assert answer.status_code == 400, answer.text
    assert says in answer.json()["error"]["message"]


def test_the_group_of_the_lab_is_needed(cloud: Lab) -> None:
    path = WORKFLOW.replace(f"/{GROUP}/", "/elsewhere/")
    assert error(cloud.arm("PUT", path, workflow(), LOGIC)) == (404, "ResourceGroupNotFound")
