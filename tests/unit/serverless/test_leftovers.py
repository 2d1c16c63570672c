"""What has left the spec: found by the ledger, planned, asked about, deleted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from cryptography.fernet import Fernet
from tests.unit.serverless.test_schedules import gcp

from triplane import settings
from triplane.core.change import ChangeSet, ComponentChange
from triplane.core.ledger import Entry
from triplane.serverless.events import targets
from triplane.serverless.events.leftovers import EVENT_SOURCE, Deployed, body, leftovers
from triplane.serverless.events.operators import (
    EventSourceApplyOperator,
    EventSourceLeftoversDeleteOperator,
    EventSourceLeftoversPlanOperator,
    EventSourcePlanOperator,
)

SCOPE = "staging/gcp"
OPEN = {
    "votes": {"low": 0, "medium": 0, "high": 0, "critical": 0},
    "expires": 3600,
    "plan_max_age": 3600,
    "requester_may_approve": True,
    "approvers": [],
}


def entry(number: int, deployed: Deployed, *, there: bool) -> Entry:
    return Entry(number, "", EVENT_SOURCE, "", body(deployed, there=there))


def test_what_the_ledger_knows() -> None:
    old = Deployed("aws/schedule/old", "eventbridge", "shop-old", "aws_default", "eu-west-1")
    moved = old._replace(address="aws/schedule/b", name="shop-b", region="us-east-1")
    here = moved._replace(region="eu-west-1")
    entries = [
        entry(0, old, there=True),
        entry(1, moved, there=True),
        entry(2, here, there=True),
        entry(3, old._replace(name="gone"), there=True),
        entry(4, old._replace(name="gone"), there=False),
    ]
    found = leftovers(entries, [here._replace(address="aws/schedule/another-key")])
    assert [one.leftover for one in found] == [
        "aws/leftover/schedule.shop-b@us-east-1",
        "aws/leftover/schedule.shop-old@eu-west-1",
    ]
    assert leftovers(entries, [here, moved, old]) == []


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    monkeypatch.setenv("AIRFLOW__TRIPLANE__SIGNING_KEY", "k" * 43)
    found = gcp()
    monkeypatch.setitem(targets.TARGETS, "cloud_scheduler", lambda place: found)
    return found


def context() -> Any:
    run = SimpleNamespace(dag_id="deploy_gcp", run_id="r", conf={}, run_type="manual")
    return {"dag_run": run, "ti": SimpleNamespace(xcom_push=lambda key, value: None)}


def approved(change: dict[str, Any]) -> dict[str, Any]:
    from datetime import UTC, datetime

    content = ComponentChange.from_json(change)
    found = ChangeSet(
        platform="shop", environment="staging", cloud="gcp", asked="HEAD", revision="c", source="s", spec="d",
        policy=OPEN, planned_at=datetime.now(UTC).isoformat(), changes=(content,),
    )  # fmt: skip
    return {"change_set": settings.put_change_set(found), "authorization": {"decisions": []}}


def component(name: str, **options: Any) -> dict[str, Any]:
    given = {"function": "hook", "cron": "0 6 * * *", **options}
    place = {"conn_id": "google_cloud_default", "region": "r", "project": "p"}
    address = f"gcp/schedule/{name}"
    return {
        "target": "cloud_scheduler",
        "name": f"shop-{name}",
        "options": given,
        "address": address,
        **place,
    }


def deploy(one: dict[str, Any]) -> None:
    change = EventSourcePlanOperator(task_id="p", scope=SCOPE, **one).execute(context())
    EventSourceApplyOperator(task_id="a", scope=SCOPE, **one, **approved(change)).execute(context())


def plan(*components: dict[str, Any]) -> list[dict[str, Any]]:
    given = [{**one, "scope": SCOPE} for one in components]
    return EventSourceLeftoversPlanOperator(task_id="l", scope=SCOPE, components=given).execute(context())


def delete(change: dict[str, Any]) -> list[dict[str, Any]]:
    return EventSourceLeftoversDeleteOperator(task_id="d", scope=SCOPE, **approved(change)).execute(context())


def test_what_left_the_spec_is_deleted_once_approved(target: Any) -> None:
    old, new = component("old", payload={"a": 1}), component("new")
    deploy(old)
    deploy(new)
    assert plan(old, new) == []
    (change,) = plan(new)
    assert change["address"] == "gcp/leftover/schedule.shop-old@r"
    assert (change["action"], change["risk"], change["lines"]) == ("destroy", "high", ["- shop-old"])
    assert {name.rpartition("/")[2] for name in target._api.things if "/jobs/" in name} == {
        "shop-old",
        "shop-new",
    }
    (result,) = delete(change)
    assert (result["address"], result["state"]) == (change["address"], "destroyed")
    assert {name.rpartition("/")[2] for name in target._api.things if "/jobs/" in name} == {"shop-new"}
    assert delete(change)[0]["state"] == "destroyed"
    assert plan(new) == []
    deploy(old)
    assert plan(old, new) == []
    assert [one["address"] for one in plan(old)] == ["gcp/leftover/schedule.shop-new@r"]


def test_one_that_somebody_deleted_or_changed(target: Any) -> None:
    old = component("old")
    deploy(old)
    (change,) = plan()
    path = next(name for name in target._api.things if name.endswith("shop-old"))
    target._api.things[path] = {**target._api.things[path], "schedule": "1 1 * * *"}
    with pytest.raises(AirflowFailException, match="was changed since it was approved"):
        delete(change)
    del target._api.things[path]
    assert plan() == []
    assert delete(change)[0]["state"] == "destroyed"


def test_what_was_not_approved_is_not_deleted(target: Any) -> None:
    deploy(component("old"))
    (change,) = plan()
    other = ComponentChange.from_json(change)
    forged = {**other.to_json(), "binds": {"name": "shop-old"}}
    with pytest.raises(AirflowFailException, match="was not approved"):
        delete(forged)
    assert any(name.endswith("shop-old") for name in target._api.things)


def test_renamed_one_is_a_new_one_and_a_leftover(target: Any) -> None:
    one = component("nightly")
    deploy(one)
    renamed = {**one, "name": "shop-nachts"}
    (change,) = plan(renamed)
    assert change["address"] == "gcp/leftover/schedule.shop-nightly@r"
    deploy(renamed)
    assert delete(change)[0]["state"] == "destroyed"
    again = EventSourcePlanOperator(task_id="p", scope=SCOPE, **renamed).execute(context())
    assert again["action"] == "none"


def test_the_connection_of_the_spec_counts(target: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that it was deployed with may be gone."""
    deploy(component("old"))
    asked: list[str] = []

    def connect(place: Any) -> Any:
        asked.append(place.conn_id)
        return target

    monkeypatch.setitem(targets.TARGETS, "cloud_scheduler", connect)
    arguments: dict[str, Any] = {"task_id": "l", "scope": SCOPE, "conn_id": "another"}
    (change,) = EventSourceLeftoversPlanOperator(**arguments).execute(context())
    EventSourceLeftoversDeleteOperator(**arguments, **approved(change)).execute(context())
    assert set(asked) == {"another"}
    assert plan() == []
