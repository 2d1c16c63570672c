"""What the spec says about messages and pull requests, in the DAGs."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from triplane.factories.cloud import cloud_dag
from triplane.factories.drift import drift_dag
from triplane.factories.notify import routes
from triplane.factories.parent import parent_dag
from triplane.notify.message import EVENTS, Message
from triplane.notify.route import Route
from triplane.rollout.marking import FailureMarker
from triplane.spec import notify as spec_notify

NOTIFY = {
    "ops": {"slack": {"channel": "#ops"}, "events": ["failed"], "template": "{{ subject }}"},
    "grid": {"event_grid": {"topic": "https://t.example.com/api/events", "schema": "event_grid", "key": "k"}},
}


def platform(folder: Path, **top: Any) -> str:
    document = {
        "version": 1,
        "name": "shop",
        "environments": {"prod": {}},
        "clouds": {
            "aws": {
                "region": "eu-west-1",
                "state": {"bucket": "b"},
                "stacks": {"network": {"path": "infra/network"}},
            }
        },
        **top,
    }
    file = folder / "platform.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    return str(file)


def test_routes_reach_every_task_that_tells(tmp_path: Path) -> None:
    file = platform(tmp_path, notify=NOTIFY)
    found = routes(file)
    assert [Route.from_json(value).options for value in found] == [
        {"connection": "slack_default", "channel": "#ops"},
        {
            "topic": "https://t.example.com/api/events",
            "event_schema": "event_grid",
            "key": "k",
            "connection": "azure_default",
        },
    ]
    dag, alone = parent_dag(file), cloud_dag("aws", file)
    assert alone is not None
    assert dag.get_task("report").notify == found
    assert dag.get_task("approval").partial_kwargs["notify"] == found
    assert alone.get_task("record").notify == found
    assert drift_dag(file).get_task("report").notify == found
    (_, callback) = alone.get_task("change_set").on_failure_callback
    assert callback.routes == found
    assert not dag.get_task("report").on_failure_callback


def test_the_spec_knows_the_same_events_and_names() -> None:
    assert get_args(spec_notify.Event) == EVENTS
    message = {field.name for field in fields(Message)} - {"key"}
    assert set(spec_notify.TEMPLATE_NAMES) == message | {"platform"}


def test_nothing_is_added_where_nobody_is_to_be_told(tmp_path: Path) -> None:
    file = platform(tmp_path)
    dag, alone = parent_dag(file), cloud_dag("aws", file)
    assert alone is not None
    assert not any(task.task_id.startswith("source.") for task in dag.tasks)
    assert "pull_request" not in dag.params
    (marker,) = alone.get_task("change_set").on_failure_callback
    assert isinstance(marker, FailureMarker)


@pytest.mark.parametrize("kind", ["github", "gitlab"])
def test_a_run_does_not_depend_on_the_forge(kind: str, tmp_path: Path) -> None:
    dag = parent_dag(platform(tmp_path, source={kind: {"repository": "acme/shop"}}))
    mine = {task.task_id: task for task in dag.tasks if task.task_id.startswith("source.")}
    assert set(mine) == {"source.pending", "source.comment", "source.result"}
    assert all(task.is_teardown and not task.on_failure_fail_dagrun for task in mine.values())
    assert all(task.source["kind"] == kind and task.soft_fail for task in mine.values())
    assert dag.get_task("report").downstream_task_ids == {"source.result"}
    assert "pull_request" in dag.params
