"""A gate between the steps of a canary, on each cloud: a regression in its metrics goes back, silence never promotes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from cryptography.fernet import Fernet

from tests.e2e import google_lab
from tests.e2e.monitoring_lab import MOMENT, QUICK, cloudwatch, direct, driven, early_in_the_minute
from tests.e2e.test_container_apps import ENVIRONMENT, push
from triplane.sandbox.azure.part import GROUP, LOCATION, SUBSCRIPTION
from triplane.sandbox.gcp.state import PROJECT, REGION
from triplane.sandbox.runtime import Sandbox
from triplane.serverless.operators import ServerlessDeployOperator, ServerlessPlanOperator

pytestmark = pytest.mark.usefixtures("cloud_env")
CANARY = {"strategy": "canary", "steps": [10], "wait": 0.0}
CODE = "def handler(event, context):\n    return {{'n': {}}}\n"
Checks = list[dict[str, Any]]


@pytest.fixture
def name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    hasty = SimpleNamespace(**{**vars(time), "sleep": lambda seconds: time.sleep(min(seconds, MOMENT))})
    monkeypatch.setattr("triplane.serverless.operators.base.time", hasty)
    return f"g{uuid.uuid4().hex[:10]}"


class Rounds:
    """Deployments of one function with a gate; ``write`` puts an error rate where its checks look."""

    def __init__(self, options: dict[str, Any], write: Callable[[Checks, float], None]) -> None:
        self.options = {**options, "traffic": CANARY, "scope": "test/cloud", "deferrable": True}
        self.write = write
        self.gates: list[Checks] = []

    def deploy(self, errors: float | None, **changes: Any) -> Any:
        """The result of one deployment in which the new version has this error rate; None is silence."""
        self.gates = []

        def at_gate(checks: Checks) -> None:
            self.gates.append(checks)
            if errors is not None:
                self.write(checks, errors)

        options = {**self.options, **changes}
        change = ServerlessPlanOperator(task_id="plan", **options).execute({})
        image = options.pop("image", None)
        self.operator = ServerlessDeployOperator(task_id="deploy", change=change, **options)
        assert image is None or change["binds"]["artifact"] == image
        return driven(self.operator, at_gate)

    def goes_back(self, errors: float | None, said: str, serves: str, **changes: Any) -> None:
        with pytest.raises((AirflowFailException, AirflowException), match=said):
            self.deploy(errors, **changes)
        result = self.operator.pushed["return_value"]
        assert (result["state"], result["version"]) == ("rolled_back", serves)
        assert len(self.gates) == 1, "it never got more than 10 %"
        assert serves_alone(self.options, serves)


def serves_alone(options: dict[str, Any], version: str) -> bool:
    from triplane.serverless.operators import ServerlessOperator

    observed = ServerlessOperator(task_id="look", **options).connect().observe(options["name"])
    return observed is not None and observed.version == version


def test_lambda(name: str, tmp_path: Path) -> None:
    from tests.e2e.test_lambda import ROLE, client_of

    iam, folder = client_of("iam"), tmp_path / "function"
    folder.mkdir()
    try:
        iam.create_role(RoleName="webhook-test", AssumeRolePolicyDocument="{}")
    except iam.exceptions.EntityAlreadyExistsException:
        pass
    metric = {"namespace": "Shop", "metric": "Errors", "stat": "Sum"}
    dimensions = {"FunctionName": "${gate.name}", "ExecutedVersion": "${gate.version}"}
    query = {
        "connection": "aws_default",
        "region": "eu-west-1",
        "metrics": {"errors": {**metric, "dimensions": dimensions}},
    }
    gate = {**QUICK, "name": "errors", "source": "cloudwatch", "query": query, "at_most": 1.0}

    def write(checks: Checks, errors: float) -> None:
        found = checks[0]["query"]["metrics"]["errors"]["dimensions"]
        assert found["FunctionName"] == name
        cloudwatch("Errors", errors, **found)

    options = {"handler": "app.handler", "runtime": "python3.13", "role": ROLE}
    place = {"target": "lambda", "name": name, "region": "eu-west-1", "path": str(folder), "options": options}
    rounds = Rounds({**place, "gate": [gate]}, write)

    def code(number: int) -> None:
        (folder / "app.py").write_text(CODE.format(number))

    code(1)
    assert rounds.deploy(0.0)["version"] == "1"
    code(2)
    rounds.goes_back(7.0, r"the gate did not pass at 10 % \(fail\): errors: 7 \(at most 1\)", "1")
    code(3)
    rounds.goes_back(None, r"the gate did not pass at 10 % \(no_data\): errors: nothing was observed", "1")


def test_cloud_run(name: str, sandbox: Sandbox) -> None:
    wanted = (
        'metric.type="run.googleapis.com/request_count" AND resource.labels.revision_name="${gate.version}"'
    )
    errors = f'{wanted} AND metric.labels.response_code_class="5xx"'
    query = {
        "connection": google_lab.CONNECTION,
        "project": PROJECT,
        "filter": errors,
        "aligner": "ALIGN_SUM",
        "reducer": "REDUCE_SUM",
    }
    baseline = {**query, "filter": errors.replace("version", "previous")}
    gate = {
        **{**QUICK, "name": "errors", "source": "cloud_monitoring", "query": query, "at_most": 1.5},
        **{"against": "baseline", "baseline": baseline},
    }

    def write(checks: Checks, value: float) -> None:
        for asked, rate in ((checks[0]["query"], value), (checks[0]["baseline"], 10.0)):
            revision = asked["filter"].partition('revision_name="')[2].partition('"')[0]
            body = {
                "type": "run.googleapis.com/request_count",
                "labels": {"response_code_class": "5xx"},
                "resource": {"type": "cloud_run_revision", "labels": {"revision_name": revision}},
                "value": rate,
            }
            direct(sandbox, "gcp-rest", "/_sandbox/series", body)

    place = {
        "target": "cloud_run",
        "name": name,
        "conn_id": google_lab.CONNECTION,
        "region": REGION,
        "options": {"port": 8080},
    }
    rounds = Rounds({**place, "gate": [gate]}, write)
    first = rounds.deploy(None, image=google_lab.push(sandbox, f"{name} 1"))["version"]
    bad = google_lab.push(sandbox, f"{name} 2")
    rounds.goes_back(30.0, "errors: 30, that is 3 x the 10 of the baseline", first, image=bad)
    assert first in rounds.gates[0][0]["baseline"]["filter"]
    silent = google_lab.push(sandbox, f"{name} 3")
    rounds.goes_back(None, r"at 10 % \(no_data\)", first, image=silent)
    good = google_lab.push(sandbox, f"{name} 4")
    assert rounds.deploy(9.0, image=good)["state"] == "deployed"
    assert len(rounds.gates) == 2, "judged at 10 and 100 %"


def test_container_apps(name: str, sandbox: Sandbox) -> None:
    from azure.mgmt.appcontainers import ContainerAppsAPIClient

    from triplane.clouds import azure

    environments = azure.client(ContainerAppsAPIClient, "azure_default").managed_environments
    body = {"location": LOCATION, "properties": {}}
    environments.begin_create_or_update(GROUP, "apps", body, polling_interval=1).result()
    resource = (
        f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.App/containerApps/{name}"
    )
    query = {
        "connection": "azure_default",
        "resource": resource.replace(name, "${gate.name}"),
        "metric": "Requests",
        "aggregation": "Total",
        "filter": "revisionName eq '${gate.version}' and statusCodeCategory eq '5xx'",
    }
    gate = {**QUICK, "name": "errors", "source": "azure_monitor", "query": query, "at_most": 1.0}

    def write(checks: Checks, value: float) -> None:
        revision = checks[0]["query"]["filter"].split("'")[1]
        dimensions = {"revisionName": revision, "statusCodeCategory": "5xx"}
        series = {"resource": resource, "metric": "Requests", "dimensions": dimensions, "value": value}
        early_in_the_minute()
        direct(sandbox, "azure-arm", "/_sandbox/series", series)

    place = {
        **{"target": "container_apps", "name": name, "resource_group": GROUP, "region": LOCATION},
        **{"options": {"managed_environment": ENVIRONMENT, "port": 8080}, "gate": [gate]},
    }
    rounds = Rounds(place, write)
    first = rounds.deploy(0.0, image=push(sandbox, f"{name} 1"))["version"]
    bad = push(sandbox, f"{name} 2")
    rounds.goes_back(5.0, r"at 10 % \(fail\): errors: 5 \(at most 1\)", first, image=bad)
    silent = push(sandbox, f"{name} 3")
    rounds.goes_back(None, r"at 10 % \(no_data\)", first, image=silent)
