"""The gates of a platform as tasks and arguments."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from airflow.sdk import DAG

from triplane.core.waiver import Terms
from triplane.factories.cloud import cloud_dag
from triplane.factories.parent import parent_dag
from triplane.gates.sensors import GateSensor

DOCUMENT: dict[str, Any] = {
    "version": 1,
    "name": "shop",
    "environments": {"staging": {"variables": {"limit": "s"}}, "prod": {"variables": {"limit": "p"}}},
    "gates": {
        "errors": {"prometheus": {"query": "errors{e='${env.limit}'}", "url": "http://x"}, "at_most": 1},
        "canary": {
            "cloudwatch": {
                "metrics": {"e": {"namespace": "n", "metric": "m", "dimensions": {"V": "${gate.version}"}}}
            },
            "at_most": 1,
        },
    },
    "images": {"api": {"context": "api"}},
    "clouds": {
        "aws": {
            "region": "eu-west-1",
            "registry": "000000000000.dkr.ecr.eu-west-1.amazonaws.com",
            "state": {"bucket": "b"},
            "cluster": "c",
            "stacks": {
                "network": {"path": "n", "gate": "errors"},
                "data": {"path": "d", "after": ["network"]},
            },
            "charts": {"api": {"path": "c", "gate": ["errors"]}, "web": {"path": "c"}},
            "functions": {
                "hook": {
                    "target": "lambda",
                    "path": "f",
                    "handler": "h",
                    "runtime": "python3.12",
                    "role": "r",
                    "gate": ["canary", "errors"],
                },
                "other": {
                    "target": "lambda",
                    "path": "f",
                    "handler": "h",
                    "runtime": "python3.12",
                    "role": "r",
                },
            },
        }
    },
}


@pytest.fixture
def dag(tmp_path: Path) -> DAG:
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(DOCUMENT, sort_keys=False))
    made = cloud_dag("aws", str(file))
    assert made is not None
    return made


def test_what_records_a_rollout_knows_where_to_mark_it(tmp_path: Path) -> None:
    resource = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Insights/components/shop"
    places = {"clouds": ["aws", "gcp"], "application_insights": resource, "pushgateway": {"url": "http://p"}}
    clouds = {
        "aws": {"region": "r", "connection": "a"},
        "gcp": {"project": "p", "region": "r", "connection": "g"},
        "azure": {"resource_group": "g", "location": "l", "connection": "z"},
    }
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump({**DOCUMENT, "clouds": clouds, "markers": places}))
    pushed = {"kind": "pushgateway", "url": "http://p"}
    own = {
        "aws": {"kind": "cloudwatch", "connection": "a", "region": "r"},
        "gcp": {"kind": "cloud_monitoring", "connection": "g", "project": "p"},
        "azure": {"kind": "application_insights", "connection": "z", "resource": resource},
    }
    for cloud, place in own.items():
        made = cloud_dag(cloud, str(file))
        assert made is not None
        assert made.get_task("record").markers == [place, pushed]


def rendered(dag: DAG, task_id: str, field: str, **pulled: Any) -> Any:
    task: Any = dag.get_task(task_id)

    def pull(task_ids: str = "", key: str = "return_value", **_: Any) -> Any:
        return pulled.get(f"{task_ids.rpartition('.')[2]}_{key}")

    context = {"params": {"environment": "prod"}, "dag": dag, "ti": SimpleNamespace(xcom_pull=pull)}
    return task.render_template(getattr(task, field), context)


def test_what_comes_after_a_stack_waits_for_its_gate(dag: DAG) -> None:
    gate = dag.get_task("infrastructure.network.gate")
    assert isinstance(gate, GateSensor)
    assert gate.upstream_task_ids == {"infrastructure.network.apply", "infrastructure.network.apply_again"}
    assert {"infrastructure.data.apply", "applications.api.deploy", "record"} <= gate.downstream_task_ids
    (check,) = rendered(dag, "infrastructure.network.gate", "checks")
    assert (check["name"], check["query"]["query"]) == ("errors", "errors{e='p'}")
    assert "infrastructure.data.gate" not in dag.task_ids


@pytest.mark.parametrize(
    ("intent", "state", "skipped"),
    [("deploy", "deployed", "False"), ("deploy", "unchanged", "True"), ("rollback", "deployed", "True")],
)
def test_a_rollback_and_what_was_not_changed_are_not_judged(
    dag: DAG, intent: str, state: str, skipped: str
) -> None:
    pulled = {"authorize_intent": intent, "apply_result": {"state": state}}
    assert rendered(dag, "infrastructure.network.gate", "skip", **pulled) == skipped


def test_charts_and_functions_are_judged_by_the_task_that_deploys_them(dag: DAG) -> None:
    assert [check["name"] for check in rendered(dag, "applications.api.deploy", "gate")] == ["errors"]
    for task in ("functions.hook.plan", "functions.hook.deploy"):
        first, second = rendered(dag, task, "gate")
        assert first["query"]["metrics"]["e"]["dimensions"] == {"V": "${gate.version}"}
        assert (first["query"]["connection"], first["query"]["region"]) == ("aws_default", "eu-west-1")
        assert second["query"]["query"] == "errors{e='p'}"
    for task in ("applications.web.deploy", "functions.other.deploy"):
        assert not rendered(dag, task, "gate")


def test_who_is_asked_where_there_is_no_data(tmp_path: Path) -> None:
    gates = {name: {**gate, "no_data": "ask"} for name, gate in DOCUMENT["gates"].items()}
    prod = {"variables": {"limit": "p"}, "approval": {"approvers": ["leads"], "expires": "2h"}}
    document = {
        **DOCUMENT,
        "gates": gates,
        "groups": {"leads": ["bob"]},
        "environments": {**DOCUMENT["environments"], "prod": prod},
        "notify": {"ops": {"webhook": {"connection": "ops"}}},
        "release": {"gate": "errors", "order": ["aws", "gcp"]},
        "clouds": {**DOCUMENT["clouds"], "gcp": {"project": "p", "region": "r"}},
    }
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    made, parent = cloud_dag("aws", str(file)), parent_dag(str(file))
    assert made is not None
    for dag, task_id in (
        (made, "infrastructure.network.gate"),
        (made, "applications.api.deploy"),
        (made, "functions.hook.deploy"),
        (parent, "gate.aws"),
    ):
        asked = rendered(dag, task_id, "ask")
        assert (asked["approvers"], asked["within"], asked["requester_may_approve"]) == (
            ["bob"],
            7200.0,
            False,
        )
        assert [route["name"] for route in asked["notify"]] == ["ops"]
        Terms.from_json(asked)
    assert rendered(made, "infrastructure.network.gate", "scopes") == ["prod/aws"]
    assert rendered(parent, "gate.aws", "scopes") == ["prod/gcp"]


def test_nobody_is_asked_where_no_gate_asks(dag: DAG) -> None:
    for task_id in ("infrastructure.network.gate", "applications.api.deploy", "functions.hook.deploy"):
        assert not rendered(dag, task_id, "ask")
