"""Jobs of Cloud Scheduler through the operators, and the calls that they make."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from tests import event_sources
from tests.e2e.google_events import PLACE, Recorder, api, recorder, until
from tests.e2e.google_lab import PARENT, PROJECT, REGION, calm, fault
from triplane.sandbox.gcp.part import EMAIL
from triplane.sandbox.runtime import Sandbox
from triplane.serverless import rest
from triplane.serverless.events import targets
from triplane.serverless.google.cloud_scheduler import CloudScheduler

pytestmark = pytest.mark.usefixtures("cloud_env")


@pytest.fixture(scope="module")
def hook(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorder]:
    with recorder(sandbox, tmp_path_factory.mktemp("recorder")) as made:
        yield made


@pytest.fixture
def tasks(
    hook: Recorder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cloud_env: Any, sandbox: Sandbox
) -> Iterator[event_sources.Tasks]:
    event_sources.store(monkeypatch, tmp_path)
    monkeypatch.setattr(rest, "REPEATS", replace(rest.REPEATS, first=0.01))
    name = f"nightly-{uuid.uuid4().hex[:8]}"
    options = {
        "function": hook.name, "cron": "0 6 * * MON-FRI", "timezone": "Europe/Berlin", "service_account": EMAIL,
        "path": "/nightly", "payload": {"kind": "report"},
    }  # fmt: skip
    yield event_sources.Tasks("cloud_scheduler", name, options, PLACE)
    calm(sandbox)
    api("cloudscheduler").call("DELETE", f"v1/{PARENT}/jobs/{name}", missing_ok=True)


def job(tasks: event_sources.Tasks) -> dict[str, Any] | None:
    return api("cloudscheduler").get(f"v1/{PARENT}/jobs/{tasks.name}")


def kept(tasks: event_sources.Tasks) -> dict[str, Any]:
    """What a roll back must bring back, which is all but times."""
    return {key: value for key, value in (job(tasks) or {}).items() if not key.endswith("Time")}


def patch(tasks: event_sources.Tasks, **fields: Any) -> None:
    query = {"updateMask": ",".join(fields)}
    api("cloudscheduler").call("PATCH", f"v1/{PARENT}/jobs/{tasks.name}", fields, query=query)


def test_life(tasks: event_sources.Tasks) -> None:
    def by_hand() -> None:
        patch(tasks, schedule="*/5 * * * *", description="mine", attemptDeadline="60s")

    event_sources.life(
        tasks,
        update={"retries": 3, "payload": {"kind": "other"}, "timezone": "Europe/Paris"},
        by_hand=by_hand,
        seen=["schedule", "other"],
    )


def test_a_job_calls_the_function(tasks: event_sources.Tasks, hook: Recorder) -> None:
    tasks.deploy()
    api("cloudscheduler").call("POST", f"v1/{PARENT}/jobs/{tasks.name}:run", {})

    def made() -> list[dict[str, Any]]:
        return [each for each in hook.calls if each["headers"].get("X-CloudScheduler-JobName") == tasks.name]

    (call,) = until(made)
    assert call["path"] == "/nightly"
    assert json.loads(call["body"]) == {"kind": "report"}
    assert call["headers"]["Content-Type"] == "application/json"
    assert until(lambda: (job(tasks) or {}).get("lastAttemptTime"))
    assert until(lambda: "status" in (job(tasks) or {}))
    assert kept(tasks)["status"] == {}
    assert tasks.drift()["state"] == "in_sync", "a call is no drift"


def test_a_job_whose_call_fails_says_so(tasks: event_sources.Tasks, hook: Recorder) -> None:
    tasks.deploy()
    with hook.failing():
        api("cloudscheduler").call("POST", f"v1/{PARENT}/jobs/{tasks.name}:run", {})
        assert until(lambda: (job(tasks) or {}).get("status")) == {"code": 13}


def test_a_refused_update_is_put_back(tasks: event_sources.Tasks) -> None:
    tasks.deploy(enabled=False)
    patch(tasks, description="mine")
    before = kept(tasks)
    with pytest.raises(AirflowFailException, match="must be a valid http"):
        tasks.deploy(function=None, url="https://", path=None, enabled=True)
    assert tasks.pushed[-1]["state"] == "rolled_back"
    assert kept(tasks) == before


@pytest.mark.parametrize(("verb", "place"), [("PATCH", ""), ("POST", ":pause")])
def test_what_was_done_though_it_failed_is_put_back(
    tasks: event_sources.Tasks, sandbox: Sandbox, verb: str, place: str
) -> None:
    tasks.deploy()
    before = kept(tasks)
    path = f"cloudscheduler.*/jobs/{tasks.name}{place}$"
    fault(sandbox, path=path, method=verb, status=400, message="as ordered", done=True)
    with pytest.raises(AirflowFailException, match="as ordered"):
        tasks.deploy(cron="1 1 * * *", enabled=False)
    assert tasks.pushed[-1]["state"] == "rolled_back"
    assert kept(tasks) == before


def test_a_refused_creation_leaves_nothing(tasks: event_sources.Tasks, sandbox: Sandbox) -> None:
    fault(sandbox, path=f"cloudscheduler.*/jobs/{tasks.name}:pause", status=400, message="as ordered")
    with pytest.raises(AirflowFailException, match="as ordered"):
        tasks.deploy(enabled=False)
    assert job(tasks) is None


@pytest.mark.parametrize("how", ["killed before", "killed after", "answer lost"])
def test_a_cut_off_try_goes_on(tasks: event_sources.Tasks, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    broken = event_sources.BreakingApi(api("cloudscheduler"), how)
    target: Any = CloudScheduler(broken, api("run"), project=PROJECT, region=REGION)  # type: ignore[arg-type]
    monkeypatch.setitem(targets.TARGETS, "cloud_scheduler", lambda place: target)

    def to_the_end(**options: Any) -> int:
        change, tries = tasks.plan(**options), 1
        broken.broken.clear()
        broken.done.clear()
        tasks.run_id = uuid.uuid4().hex
        while True:
            try:
                assert tasks.apply(change, **options)["state"] == "deployed"
            except AirflowFailException:
                raise
            except (event_sources.Killed, AirflowException):
                tries += 1
            else:
                assert set(broken.done.values()) == {1}, "each once"
                assert tasks.plan(**options)["action"] == "none"
                return tries

    assert to_the_end(enabled=False) == 3, "creation, pause"
    assert to_the_end(cron="1 1 * * *") == 3, "update, resume"
    assert to_the_end(retries=2, enabled=False) == 3, "pause, update"


@pytest.mark.parametrize("status", [401, 429, 503])
def test_what_fails_once_is_got_over(tasks: event_sources.Tasks, sandbox: Sandbox, status: int) -> None:
    for verb in ("GET", "PATCH", "DELETE", *([] if status == 503 else ["POST"])):
        fault(sandbox, path="cloudscheduler.*/jobs", method=verb, status=status, message="x")
    assert tasks.deploy()["state"] == "deployed"
    assert tasks.deploy(retries=1)["state"] == "deployed"
    assert tasks.delete()["state"] == "destroyed"
    assert job(tasks) is None


@pytest.mark.parametrize("verb", ["GET", "POST", "PATCH", "DELETE"])
@pytest.mark.parametrize(("status", "retried"), [(503, True), (401, False)])
def test_what_lasts_ends_the_try(
    tasks: event_sources.Tasks, sandbox: Sandbox, verb: str, status: int, retried: bool
) -> None:
    """Of the two only credentials end the task; the next try goes on."""
    if verb in ("PATCH", "DELETE"):
        tasks.deploy(retries=1)
    fault(sandbox, path="cloudscheduler.*/jobs", method=verb, status=status, times=99, message="as ordered")
    act = tasks.delete if verb == "DELETE" else tasks.deploy
    with pytest.raises(AirflowException, match="as ordered") as raised:
        act()
    assert isinstance(raised.value, AirflowFailException) != retried
    assert retried or "credentials" in str(raised.value)
    calm(sandbox)
    if verb == "DELETE":
        assert act()["state"] == "destroyed"
    else:
        assert tasks.apply(tasks.plan())["state"] == "deployed"
