"""Cloud Scheduler against the sandbox's: tokens, states of the service's own making, what hands have changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.serverless.google_lab import Google

from triplane.sandbox.gcp.state import PROJECT, REGION
from triplane.serverless.events.source import Done, Found, Wanted, differing
from triplane.serverless.google.cloud_scheduler import CloudScheduler
from triplane.serverless.rest import Api
from triplane.serverless.target import UNKNOWN, DeployFailed

URL = "https://hook.a.run.app"
PARENT = f"projects/{PROJECT}/locations/{REGION}"
OPTIONS: dict[str, Any] = {"function": "hook", "cron": "0 6 * * *"}


@pytest.fixture
def google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Google:
    made = Google(tmp_path, monkeypatch)
    service = f"{PARENT}/services/hook"
    made.core.state.resources[service] = {"name": service, "uri": URL}
    return made


def scheduler(google: Google) -> CloudScheduler:
    def api(service: str) -> Api:
        return Api(google.session(), f"https://{service}.googleapis.com", sleep=lambda seconds: None)

    return CloudScheduler(api("cloudscheduler"), api("run"), project=PROJECT, region=REGION)


def wanted(google: Google, **options: Any) -> Wanted:
    return Wanted(name="nightly", settings=scheduler(google).settings("nightly", {**OPTIONS, **options}))


def bring(google: Google, shall: Wanted) -> Found:
    """Apply it, and read back that it is so."""
    target = scheduler(google)
    assert isinstance(target.apply(shall, target.observe(shall), print), Done)
    found = target.observe(shall)
    assert found is not None
    assert differing(shall, found) == []
    writes = google.writes()
    target.apply(shall, found, print)
    assert google.writes() == writes, "the second time there is nothing to do"
    return found


def raw(google: Google) -> dict[str, Any]:
    return google.core.state.resources[f"{PARENT}/jobs/nightly"]


@pytest.mark.parametrize(
    ("options", "audience"),
    [
        ({"path": "/in"}, URL),
        ({"function": None, "url": "https://example.com/in"}, "https://example.com/in"),
        ({"function": "later", "path": "/in"}, UNKNOWN),
        ({"function": UNKNOWN}, UNKNOWN),
        ({"path": UNKNOWN}, URL),
    ],
)
def test_the_token_is_for_the_service(google: Google, options: dict[str, Any], audience: Any) -> None:
    given = {key: value for key, value in {**OPTIONS, **options}.items() if value is not None}
    settings = scheduler(google).settings("nightly", {**given, "service_account": "a@b"})
    assert settings["audience"] == audience
    assert settings["calls"] in (UNKNOWN, f"{URL}/in", "https://example.com/in")


def test_a_new_one_that_is_off(google: Google) -> None:
    bring(google, wanted(google, enabled=False, payload={"a": 1}, retries=5))
    assert google.writes() == ["POST jobs", "POST nightly:pause"]
    assert raw(google)["state"] == "PAUSED"


def test_an_update_that_the_service_has_left_half_done(google: Google) -> None:
    shall = wanted(google)
    bring(google, shall)
    raw(google)["state"] = "UPDATE_FAILED"
    found = scheduler(google).observe(shall)
    assert found is not None
    assert differing(shall, found) == ["other"]
    scheduler(google).apply(shall, found, print)
    assert google.writes()[-1] == "PATCH nightly"


@pytest.mark.parametrize(
    ("changed", "seen"),
    [
        ({"description": "mine"}, "other"),
        ({"attemptDeadline": "60s"}, "other"),
        ({"retryConfig": {"maxDoublings": 1}}, "other"),
        ({"httpTarget": {"uri": URL, "httpMethod": "POST", "headers": {"X-Mine": "1"}}}, "other"),
        ({"httpTarget": {"uri": URL, "httpMethod": "PUT"}}, "method"),
        ({"httpTarget": {"uri": URL, "httpMethod": "POST", "body": "eA=="}}, "payload"),
        ({"timeZone": "Europe/Rome"}, "timezone"),
        ({"state": "PAUSED"}, "enabled"),
    ],
)
def test_what_hands_have_changed_is_seen_and_mended(
    google: Google, changed: dict[str, Any], seen: str
) -> None:
    shall = wanted(google)
    bring(google, shall)
    raw(google).update(changed)
    found = scheduler(google).observe(shall)
    assert found is not None
    assert differing(shall, found) == [seen]
    bring(google, shall)


def test_put_back(google: Google) -> None:
    target, first = scheduler(google), wanted(google, enabled=False, service_account="a@b")
    bring(google, first)
    raw(google).update(description="mine", attemptDeadline="60s")
    before = target.observe(first)
    assert before is not None
    bring(google, wanted(google, cron="1 1 * * *", retries=2))
    target.restore(first, before, print)
    now = target.observe(first)
    assert now is not None
    assert now.settings == before.settings
    target.restore(first, None, print)
    assert target.observe(first) is None


def test_somebody_deletes_it_meanwhile(google: Google) -> None:
    shall = wanted(google)
    found = bring(google, shall)
    target, off = scheduler(google), wanted(google, enabled=False)
    target.delete(shall)
    with pytest.raises(DeployFailed, match="somebody deleted"):
        target.apply(off, found, print)
