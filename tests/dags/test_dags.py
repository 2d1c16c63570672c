"""The DAG files: what they build, and how little they do while they are parsed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from triplane.spec.load import load

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "streaming-platform" / "platform.yaml"
HEAVY = (
    "boto3",
    "botocore",
    "google.cloud",
    "azure",
    "kubernetes",
    "docker",
    "grpc",
    "requests",
    "airflow.providers.google",
)

PARSE = """
import json, runpy, sys
import airflow.sdk
import airflow.sdk.definitions.timetables.interval  # croniter, behind it, runs the program `file`: Airflow's own
before = set(sys.modules)
started = []
sys.addaudithook(lambda event, args: started.append(event) if event in ("subprocess.Popen", "os.fork", "socket.connect") else None)
dags = [runpy.run_path(path)["dag"] for path in sys.argv[1:]]
tasks = {
    dag.dag_id: {t.task_id: {"down": sorted(t.downstream_task_ids), "rule": str(getattr(t.trigger_rule, "value", t.trigger_rule)), "type": t.task_type, "branches": getattr(t, "branches", None)} for t in dag.tasks}
    for dag in dags
}
from triplane.spec.values import Value
kinds = [Value]
for kind in kinds:
    kinds += kind.__subclasses__()
built = [kind.__name__ for kind in kinds if kind.__pydantic_complete__]
print(json.dumps({"dags": tasks, "modules": sorted(set(sys.modules) - before), "started": started, "built": built}))
"""


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    load(EXAMPLE, files=False)  # as any process of Airflow finds it that is not the first
    home = tmp_path_factory.mktemp("airflow")
    env = os.environ | {"AIRFLOW_HOME": str(home), "AIRFLOW__TRIPLANE__PLATFORM": str(EXAMPLE)}
    files = sorted(str(path) for path in (ROOT / "dags").glob("*.py"))
    done = subprocess.run([sys.executable, "-c", PARSE, *files], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_five_dags(parsed: Any) -> None:
    assert set(parsed["dags"]) == {"deploy", "deploy_aws", "deploy_gcp", "deploy_azure", "drift_check"}


def test_parsing_imports_no_cloud_sdk_and_starts_nothing(parsed: Any) -> None:
    heavy = [name for name in parsed["modules"] if name.startswith(HEAVY)]
    assert heavy == []
    assert parsed["started"] == []


def test_parsing_a_known_platform_validates_and_dumps_nothing(parsed: Any) -> None:
    assert "triplane.spec.model" in parsed["modules"]
    assert "triplane.spec.reading" not in parsed["modules"]
    assert parsed["built"] == [], "pydantic has built a validator or a serializer"


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure"])
def test_a_person_recognises_the_tasks_of_a_cloud(parsed: Any, cloud: str) -> None:
    tasks = set(parsed["dags"][f"deploy_{cloud}"])
    assert {
        "freeze",
        "images.ingest.build",
        "images.ingest.push",
        "infrastructure.network.plan",
        "infrastructure.cluster.plan",
        "applications.query.plan",
        "functions.webhook.plan",
        "change_set",
        "approval",
        "authorize",
        "infrastructure.network.apply",
        "infrastructure.cluster.apply",
        "machines.worker.apply",
        "applications.query.deploy",
        "functions.webhook.deploy",
        "destroy.stack.network",
        "destroy.chart.query",
        "destroy.function.webhook",
        "leftovers.plan",
        "leftovers.delete",
        "record",
    } <= tasks


ACTING = (
    "TerraformApplyOperator",
    "TerraformApplyOrAskOperator",
    "HelmUpgradeOperator",
    "ServerlessDeployOperator",
    "EventSourceApplyOperator",
    "AnsibleApplyOperator",
    "PipelineComponentOperator",
)
DESTROYING = (
    "TerraformDestroyOperator",
    "HelmUninstallOperator",
    "ServerlessDeleteOperator",
    "EventSourceDeleteOperator",
    "AnsibleDestroyOperator",
    "PipelineForgetOperator",
)
COMPONENTS = {"aws": 10, "gcp": 9, "azure": 9}


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure"])
def test_nothing_is_applied_before_it_is_authorized(parsed: Any, cloud: str) -> None:
    tasks = parsed["dags"][f"deploy_{cloud}"]
    after = _downstream(tasks, "authorize")
    acting = {name for name, task in tasks.items() if task["type"] in ACTING}
    again = {name for name in acting if name.endswith(".apply_again")}
    assert len(acting - again) == COMPONENTS[cloud]
    assert {name.replace(".apply_again", ".apply") for name in again} <= acting
    assert acting <= after
    assert "authorize" in _downstream(tasks, "approval")
    assert "approval" in _downstream(tasks, "change_set")
    assert all(tasks[name]["rule"].endswith("none_failed_min_one_success") for name in acting - again)
    assert all(tasks[name]["rule"].endswith("all_success") for name in again)
    for name in again:
        question = name.replace(".apply_again", ".approval")
        assert question in _downstream(tasks, name.replace(".apply_again", ".apply"))
        assert name in _downstream(tasks, question)


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure"])
def test_what_has_left_the_spec_is_asked_about_and_deleted_first(parsed: Any, cloud: str) -> None:
    tasks = parsed["dags"][f"deploy_{cloud}"]
    assert "change_set" in tasks["leftovers.plan"]["down"]
    assert "leftovers.delete" in tasks["authorize"]["down"]
    assert {"record", "destroy.function.webhook"} <= set(tasks["leftovers.delete"]["down"])
    assert all("leftovers.delete" not in names.values() for names in tasks["authorize"]["branches"].values())


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure"])
def test_what_is_deployed_can_be_destroyed_in_reverse(parsed: Any, cloud: str) -> None:
    tasks = parsed["dags"][f"deploy_{cloud}"]
    destroying = {name for name, task in tasks.items() if task["type"] in DESTROYING}
    assert len(destroying) == COMPONENTS[cloud]
    assert destroying <= set(tasks["authorize"]["down"])
    assert all(tasks[name]["rule"].endswith("none_failed_min_one_success") for name in destroying)
    assert tasks["destroy.stack.cluster"]["down"] == ["destroy.stack.network", "record"]
    for first in ("destroy.chart.query", "destroy.chart.ingest", "destroy.function.webhook"):
        assert {"destroy.stack.cluster", "destroy.stack.network"} <= _downstream(tasks, first)
    for caller in ("destroy.stream.events", "destroy.schedule.heartbeat"):
        assert "destroy.function.webhook" in _downstream(tasks, caller)
    applying = {name for name, task in tasks.items() if task["type"] in ACTING}
    assert not any(applying & _downstream(tasks, name) for name in destroying)
    branches = tasks["authorize"]["branches"]
    assert set(branches["destroy"].values()) == destroying
    assert set(branches["deploy"].values()) == {name for name in applying if not name.endswith("_again")}
    assert branches["deploy"].keys() == branches["destroy"].keys()
    assert branches["deploy"][f"{cloud}/stack/network"] == "infrastructure.network.apply"


def test_stacks_are_applied_wave_by_wave_then_charts_then_functions_then_what_calls_them(parsed: Any) -> None:
    tasks = parsed["dags"]["deploy_aws"]
    order = [
        "infrastructure.network.apply",
        "infrastructure.cluster.apply",
        "applications.ingest.deploy",
        "functions.webhook.deploy",
        "streams.events.apply",
        "pipelines.release.run",
    ]
    for earlier, later in pairwise(order):
        assert later in _downstream(tasks, earlier)


def test_the_parent_plans_asks_applies_compares_reports(parsed: Any) -> None:
    tasks = parsed["dags"]["deploy"]
    clouds = ("aws", "gcp", "azure")
    assert {f"{group}.{cloud}" for group in ("plan", "apply") for cloud in clouds} <= set(tasks)
    for cloud in clouds:
        assert "approval" in _downstream(tasks, f"plan.{cloud}")
        assert f"apply.{cloud}" in _downstream(tasks, "approval")
        assert "report" in _downstream(tasks, f"apply.{cloud}")
        assert f"plan.{cloud}" in _downstream(tasks, "images.ingest.build")
        assert "images.parity" in _downstream(tasks, f"plan.{cloud}")
        assert f"apply.{cloud}" in tasks["images.parity"]["down"]
    assert tasks["report"]["rule"].endswith("all_done")
    assert not tasks["report"]["down"]


def test_drift_is_checked_cloud_by_cloud(parsed: Any) -> None:
    tasks = parsed["dags"]["drift_check"]
    checks = {name for name, task in tasks.items() if task["type"] == "TerraformDriftBatchOperator"}
    assert checks == {"aws.stacks", "gcp.stacks", "azure.stacks"}
    assert all("report" in _downstream(tasks, name) for name in checks)
    assert tasks["report"]["rule"].endswith("all_done")


def _downstream(tasks: dict[str, Any], start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for name in tasks[waiting.pop()]["down"]:
            if name not in found:
                found.add(name)
                waiting.append(name)
    return found
