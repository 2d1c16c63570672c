"""Cloud Functions and the URLs of services, as the sandbox has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests
from tests.unit.serverless.google_lab import Google, code

from triplane.sandbox.gcp.faults import Fault

ROOT = "https://cloudfunctions.googleapis.com/v2/projects/triplane-sandbox/locations/europe-west1"
SERVICE = "projects/triplane-sandbox/locations/europe-west1/services/hook"


@pytest.fixture
def google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Google:
    return Google(tmp_path, monkeypatch)


def upload(
    google: Google, data: bytes = code("hello"), content: str = "application/zip", cut: int = 0
) -> Any:
    place = google.session().post(f"{ROOT}/functions:generateUploadUrl", json={}).json()
    url = place["uploadUrl"][: len(place["uploadUrl"]) - cut]
    answer = requests.put(url, data=data, headers={"Content-Type": content}, timeout=5)
    return answer.status_code, place["storageSource"]


def body(source: Any, **service: Any) -> dict[str, Any]:
    build = {"runtime": "python312", "entryPoint": "hello", "source": {"storageSource": source}}
    return {"environment": "GEN_2", "buildConfig": build, "serviceConfig": service}


def create(google: Google, wanted: dict[str, Any]) -> requests.Response:
    answer: requests.Response = google.session().post(f"{ROOT}/functions?functionId=hook", json=wanted)
    return answer


def test_an_upload_url_is_signed(google: Google) -> None:
    assert upload(google)[0] == 200
    assert upload(google, cut=1)[0] == 403
    assert upload(google, content="text/plain")[0] == 403


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"serviceConfig": {"memory": "1Gi"}}, 'Unknown name \\"memory\\"'),
        ({"serviceConfig": {"ingressSettings": "ALL"}}, "serviceConfig.ingressSettings"),
        ({"serviceConfig": {"timeoutSeconds": "long"}}, "serviceConfig.timeoutSeconds"),
        ({"serviceConfig": {"timeoutSeconds": 4000}}, "between 1 and 3600"),
        ({"serviceConfig": {"environmentVariables": {"PORT": "1"}}}, "PORT is reserved"),
        ({"buildConfig": {"runtime": "python312"}}, "entry_point is required"),
        ({"labels": {"a": "A"}}, "Invalid label"),
        ({"environment": "GEN_1"}, "GEN_2 only"),
    ],
)
def test_what_is_refused(google: Google, change: dict[str, Any], message: str) -> None:
    answer = create(google, body(upload(google)[1]) | change)
    assert answer.status_code == 400
    assert message in answer.text
    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"


def test_a_source_must_have_been_uploaded(google: Google) -> None:
    answer = create(google, body({"bucket": "b", "object": "none.zip"}))
    assert answer.status_code == 400
    assert "does not exist" in answer.text


def test_one_operation_at_a_time(google: Google) -> None:
    google.core.state.operations.delay = 5
    wanted = body(upload(google)[1])
    operation = create(google, wanted).json()
    assert operation["metadata"]["requestResource"]["buildConfig"]["entryPoint"] == "hello"
    assert operation["done"] is False
    url = f"{ROOT}/functions/hook"
    busy = google.session().patch(f"{url}?updateMask=labels", json={"labels": {}})
    assert (busy.status_code, busy.json()["error"]["status"]) == (409, "ABORTED")
    assert google.session().delete(url).status_code == 409
    assert google.session().get(url).json()["state"] == "DEPLOYING"


def test_who_may_ask(google: Google) -> None:
    create(google, body(upload(google)[1]))
    uri = google.session().get(f"{ROOT}/functions/hook").json()["url"]

    def ask(**headers: str) -> requests.Response:
        return requests.get(uri, headers=headers, timeout=30)

    assert ask().status_code == 403
    assert ask(Authorization=f"Bearer {google.tokens.issue_id('https://elsewhere')}").status_code == 403
    assert ask(Authorization=f"Bearer {google.tokens.issue_id(uri)}").text == "hello"
    token = {"Authorization": f"Bearer {google.tokens.issue_id(uri, 'caller@x')}"}
    assert ask(**token).status_code == 403
    invited = {"role": "roles/run.invoker", "members": ["serviceAccount:caller@x"]}
    google.core.state.policies[SERVICE] = {"bindings": [invited]}
    assert ask(**token).text == "hello"
    assert ask().status_code == 403
    binding = {"role": "roles/run.invoker", "members": ["allUsers"]}
    google.core.state.policies[SERVICE] = {"bindings": [binding]}
    assert ask().text == "hello"
    google.core.state.resources[SERVICE]["ingress"] = "INGRESS_TRAFFIC_INTERNAL_ONLY"
    assert ask().status_code == 404


def test_quota(google: Google) -> None:
    google.core.faults.add(Fault(path="functions", status=429, message="Quota exceeded", after=1))
    assert google.session().get(f"{ROOT}/functions").status_code == 200
    error = google.session().get(f"{ROOT}/functions").json()["error"]
    assert (error["status"], error["details"][0]["reason"]) == ("RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED")
    assert google.session().get(f"{ROOT}/functions").status_code == 200
