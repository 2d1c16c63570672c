"""Push subscriptions of Pub/Sub: what is written and read, and what it is asked, call by call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.serverless.google_lab import Google

from triplane.core.errors import InputError
from triplane.sandbox.gcp.state import PROJECT, REGION
from triplane.serverless.events.source import Done, Found, Wanted, differing, plan
from triplane.serverless.google.pubsub import PubSub
from triplane.serverless.rest import Api
from triplane.serverless.target import UNKNOWN, DeployFailed

URL = "https://hook.a.run.app"
TOPIC = f"projects/{PROJECT}/topics/orders"
DEAD = f"projects/{PROJECT}/topics/dead"
SUBSCRIPTION = f"projects/{PROJECT}/subscriptions/orders"
OPTIONS: dict[str, Any] = {"function": "hook", "stream": "orders"}


@pytest.fixture
def google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Google:
    made = Google(tmp_path, monkeypatch)
    service = f"projects/{PROJECT}/locations/{REGION}/services/hook"
    made.core.state.resources[service] = {"name": service, "uri": URL}
    for topic in (TOPIC, DEAD):
        api(made, "pubsub").call("PUT", f"v1/{topic}", {})
    made.log.clear()
    return made


def api(google: Google, service: str) -> Api:
    return Api(google.session(), f"https://{service}.googleapis.com", sleep=lambda seconds: None)


def pubsub(google: Google) -> PubSub:
    return PubSub(api(google, "pubsub"), api(google, "run"), project=PROJECT, region=REGION)


def wanted(google: Google, **options: Any) -> Wanted:
    return Wanted(name="orders", settings=pubsub(google).settings("orders", {**OPTIONS, **options}))


def bring(google: Google, shall: Wanted) -> Found:
    """Apply it, and read back that it is so."""
    target = pubsub(google)
    assert isinstance(target.apply(shall, target.observe(shall), print), Done)
    found = target.observe(shall)
    assert found is not None
    assert differing(shall, found) == []
    writes = google.writes()
    assert isinstance(target.apply(shall, found, print), Done)
    assert google.writes() == writes, "the second time there is nothing to do"
    return found


def raw(google: Google) -> dict[str, Any]:
    return google.core.state.resources[SUBSCRIPTION]


def test_defaults(google: Google) -> None:
    found = bring(google, wanted(google))
    assert found.settings == {
        "stream": TOPIC, "filter": "", "ordering": False, "calls": URL, "service_account": "", "audience": "",
        "ack_deadline": 10, "retention": 604800, "min_backoff": None, "max_backoff": None, "dead_letter": "",
        "retries": None, "expires": "never", "enabled": True, "detached": False, "other": {},
    }  # fmt: skip
    assert raw(google)["expirationPolicy"] == {}
    assert google.writes() == ["PUT orders"]


def test_all_options(google: Google) -> None:
    bring(google, wanted(
        google, stream=TOPIC, dead_letter="dead", retries=9, service_account="a@b", path="/in", ack_deadline=600,
        retention=600, min_backoff=0, max_backoff=600, filter="attributes:a", ordering=True, batch_size=1,
        starting_position="latest",
    ))  # fmt: skip
    found = raw(google)
    assert found["deadLetterPolicy"] == {"deadLetterTopic": DEAD, "maxDeliveryAttempts": 10}
    assert found["retryPolicy"] == {"minimumBackoff": "0s", "maximumBackoff": "600s"}
    assert found["pushConfig"]["pushEndpoint"] == f"{URL}/in"
    assert found["pushConfig"]["oidcToken"] == {"serviceAccountEmail": "a@b", "audience": URL}
    assert (found["filter"], found["enableMessageOrdering"]) == ("attributes:a", True)
    bring(google, wanted(google, stream=TOPIC, filter="attributes:a", ordering=True))
    assert not {"deadLetterPolicy", "retryPolicy"} & set(raw(google)), "what was taken out is gone"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"function": None}, "needs 'function'"),
        ({"batch_size": 10}, "one message at a time"),
        ({"starting_position": "earliest"}, "seek it to a time"),
        ({"starting_position": "now"}, "neither 'latest' nor 'earliest'"),
        ({"retries": 3}, "give a topic as dead_letter"),
        ({"dead_letter": "dead", "retries": 3}, "between 4 and 99"),
        ({"dead_letter": "dead", "retries": 100}, "between 4 and 99"),
        ({"dead_letter": "topics/dead"}, "neither a topic's id"),
        ({"stream": "projects/p/subscriptions/x"}, "neither a topic's id"),
        ({"ack_deadline": 9}, "between 10 and 600"),
        ({"ack_deadline": True}, "between 10 and 600"),
        ({"retention": 2678401}, "between 600 and 2678400"),
        ({"max_backoff": 601}, "between 0 and 600"),
        ({"max_backoff": 9}, "min_backoff 10 is more than max_backoff 9"),
        ({"ordering": "no"}, "neither true nor false"),
        ({"enabled": 1}, "neither true nor false"),
        ({"path": "in"}, "does not begin with /"),
        ({"filter": "x" * 257}, "longer than 256"),
    ],
)
def test_what_pubsub_cannot_do(google: Google, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        wanted(google, **options)


@pytest.mark.parametrize("name", ["ab", "1orders", "googorders", "or ders"])
def test_names(google: Google, name: str) -> None:
    with pytest.raises(InputError, match="3-255 letters"):
        pubsub(google).settings(name, OPTIONS)


def test_what_is_not_known_yet(google: Google) -> None:
    later = wanted(google, function="later", service_account="a@b", path="/x").settings
    assert (later["calls"], later["audience"]) == (UNKNOWN, UNKNOWN)
    assert wanted(google, path=UNKNOWN).settings["calls"] is UNKNOWN
    later = wanted(google, function=UNKNOWN, stream=UNKNOWN, dead_letter=UNKNOWN, retries=UNKNOWN).settings
    assert {later[key] for key in ("calls", "stream", "dead_letter", "retries")} == {UNKNOWN}


def test_a_paused_one_says_nothing_of_its_url(google: Google) -> None:
    bring(google, wanted(google, service_account="a@b"))
    off = wanted(google, service_account="a@b", enabled=False)
    change = plan("gcp/stream/orders", off, pubsub(google).observe(off), PubSub.fixed)
    assert (change.lines, change.action) == (("enabled: True -> False",), "update")
    found = bring(google, off)
    assert raw(google)["pushConfig"] == {}
    assert found.settings["calls"] == URL
    unknown = Wanted(name="orders", settings={**off.settings, "calls": UNKNOWN})
    later = pubsub(google).observe(unknown)
    assert later is not None
    assert later.settings["calls"] == ""


@pytest.mark.parametrize(
    ("changed", "seen"),
    [
        ({"labels": {"a": "b"}}, {"other"}),
        ({"enableExactlyOnceDelivery": True}, {"other"}),
        ({"retainAckedMessages": True}, {"other"}),
        ({"pushConfig": {"pushEndpoint": URL, "noWrapper": {}}}, {"other"}),
        ({"pushConfig": {"pushEndpoint": URL, "attributes": {"x-goog-version": "v1beta1"}}}, {"other"}),
        ({"pushConfig": {"pushEndpoint": "https://x"}}, {"calls"}),
        ({"pushConfig": {}}, {"enabled"}),
        ({"expirationPolicy": {"ttl": "2678400s"}}, {"expires"}),
        (
            {"retryPolicy": {"minimumBackoff": "10s", "maximumBackoff": "600s"}},
            {"min_backoff", "max_backoff"},
        ),
        (
            {"deadLetterPolicy": {"deadLetterTopic": DEAD, "maxDeliveryAttempts": 5}},
            {"dead_letter", "retries"},
        ),
        ({"detached": True}, {"detached"}),
        ({"topic": "_deleted-topic_"}, {"stream"}),
    ],
)
def test_what_hands_have_changed_is_seen_and_mended(
    google: Google, changed: dict[str, Any], seen: set[str]
) -> None:
    shall = wanted(google)
    bring(google, shall)
    raw(google).update(changed)
    found = pubsub(google).observe(shall)
    assert found is not None
    assert set(differing(shall, found)) == seen
    bring(google, shall)


def test_put_back(google: Google) -> None:
    """All of it, also what hands have set; or nothing, where nothing was."""
    target, first = pubsub(google), wanted(google, dead_letter="dead", filter="attributes:a")
    bring(google, first)
    raw(google).update(labels={"a": "b"}, expirationPolicy={"ttl": "2678400s"})
    before, kept = target.observe(first), dict(raw(google))
    for options in ({"ack_deadline": 60, "filter": "attributes:a"}, {"enabled": False}):
        bring(google, wanted(google, **options))
        target.restore(first, before, print)
        assert raw(google) == kept
    target.delete(first)
    target.delete(first)
    target.restore(first, before, print)
    assert raw(google) == kept
    target.restore(first, None, print)
    assert target.observe(first) is None


def test_what_cannot_be_put_back(google: Google) -> None:
    target, shall = pubsub(google), wanted(google)
    bring(google, shall)
    raw(google)["detached"] = True
    before = target.observe(shall)
    with pytest.raises(DeployFailed, match="detached"):
        target.restore(shall, before, print)


def test_nothing_is_deleted_for_what_cannot_be_made(google: Google) -> None:
    bring(google, wanted(google))
    for options in ({"stream": "none"}, {"filter": "attributes:a", "dead_letter": "none"}):
        shall = wanted(google, **options)
        target = pubsub(google)
        with pytest.raises(DeployFailed, match="there is no topic"):
            target.apply(shall, target.observe(shall), print)
    assert raw(google)["topic"] == TOPIC
    assert google.writes() == ["PUT orders"]
