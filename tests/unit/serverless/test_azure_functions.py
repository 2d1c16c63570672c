"""What goes to Azure Functions, and what its deployment host answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from triplane.core.errors import InputError, TerminalError, TransientError
from triplane.serverless import azure_functions, kudu
from triplane.serverless.azure_functions import AzureFunctions
from triplane.serverless.kudu import Kudu
from triplane.serverless.target import DeployFailed, Desired

RUNTIME = {"runtime": "python|3.11"}
PLAN = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/serverfarms/p"


def desired(**changes: Any) -> Desired:
    fields: dict[str, Any] = {"name": "app", "artifact": "sha256:a", "config": "sha256:c", "package": b"zip"}
    return Desired(**{**fields, "options": RUNTIME, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"environment": {"FUNCTIONS_WORKER_RUNTIME": "node"}}, "set by Triplane"),
        ({"options": {}}, "runtime"),
        ({"options": {"runtime": "python3.11"}}, "runtime"),
        ({"options": {**RUNTIME, "plan": "p"}}, "resource id"),
        ({"package": None}, "none is given"),
    ],
)
def test_input_is_refused_before_anything_is_done(changes: dict[str, Any], message: str) -> None:
    target = AzureFunctions(SimpleNamespace(web_apps=None), str, resource_group="g", location="l")
    with pytest.raises(InputError, match=message):
        target.deploy(desired(**changes), None, print)


def test_the_body_of_a_new_app() -> None:
    body = azure_functions._body(None, "westeurope", {"a": "b"}, {**RUNTIME, "plan": PLAN})
    assert body == {
        "location": "westeurope",
        "kind": "functionapp,linux",
        "tags": {"a": "b"},
        "properties": {
            "reserved": True,
            "httpsOnly": True,
            "serverFarmId": PLAN,
            "siteConfig": {"linuxFxVersion": "python|3.11", "healthCheckPath": ""},
        },
    }


@pytest.mark.parametrize(
    ("message", "artifact"),
    [
        ("triplane sha256:abc", "sha256:abc"),
        ("triplane restored", None),
        ("sha256:abc", None),
        ("Created via a push deployment", None),
        ("", None),
    ],
)
def test_only_our_own_deployments_say_which_package_they_are(message: str, artifact: str | None) -> None:
    assert azure_functions._artifact(message) == artifact


class Answers:
    """Stands for the network: gives prepared answers, and keeps what was asked."""

    def __init__(self, *answers: tuple[int, Any]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, method: str, url: str, **options: Any) -> Any:
        self.asked.append(f"{method} {url.partition('/api')[2]}")
        status, body = self._answers.pop(0)
        return SimpleNamespace(
            status_code=status,
            ok=status < 400,
            text=str(body),
            headers={"Location": "https://h/api/deployments/1"},
            json=lambda: body,
        )


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Any:
    def prepare(*answers: tuple[int, Any]) -> Answers:
        stub = Answers(*answers)
        monkeypatch.setattr("requests.request", stub)
        monkeypatch.setattr(kudu, "POLL_SECONDS", 0.0)
        return stub

    return prepare


def test_a_push_waits_for_a_busy_host_and_for_its_end(network: Any) -> None:
    ended = {"id": "1", "complete": True, "status": kudu.SUCCESS}
    stub = network((409, "busy"), (202, ""), (202, {"id": "1", "status": 1}), (200, ended))
    assert Kudu("h", lambda: "token").push(b"zip", "message") == "1"
    assert stub.asked == ["POST /zipdeploy", "POST /zipdeploy", "GET /deployments/1", "GET /deployments/1"]


def test_a_failed_deployment_says_why(network: Any) -> None:
    ended = {"id": "1", "complete": True, "status": kudu.FAILED}
    network((202, ""), (200, ended), (200, [{"message": "starting"}, {"message": "host.json is missing"}]))
    with pytest.raises(DeployFailed, match=r"host\.json is missing"):
        Kudu("h", lambda: "token").push(b"zip", "message")


@pytest.mark.parametrize(("status", "error"), [(403, TerminalError), (503, TransientError)])
def test_errors_of_the_host(
    network: Any, monkeypatch: pytest.MonkeyPatch, status: int, error: type[Exception]
) -> None:
    monkeypatch.setattr(kudu, "BUSY_SECONDS", -1.0)
    network((status, "no"))
    with pytest.raises(error, match=str(status)):
        Kudu("h", lambda: "token").active()
