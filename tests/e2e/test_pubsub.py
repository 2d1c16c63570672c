"""Push subscriptions of Pub/Sub through the operators, and the messages that they bring."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from tests import event_sources
from tests.e2e.google_events import PLACE, Recorder, api, recorder, until
from tests.e2e.google_lab import PROJECT, REGION, calm, fault
from triplane.sandbox.gcp.part import EMAIL
from triplane.sandbox.runtime import Sandbox
from triplane.serverless.events import targets
from triplane.serverless.google.pubsub import PubSub

pytestmark = pytest.mark.usefixtures("cloud_env")
ROOT = f"v1/projects/{PROJECT}"


@pytest.fixture(scope="module")
def hook(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorder]:
    with recorder(sandbox, tmp_path_factory.mktemp("recorder")) as made:
        yield made


@pytest.fixture
def tasks(
    hook: Recorder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cloud_env: Any
) -> Iterator[event_sources.Tasks]:
    event_sources.store(monkeypatch, tmp_path)
    name = f"orders-{uuid.uuid4().hex[:8]}"
    for topic in (name, f"{name}-dead"):
        api("pubsub").call("PUT", f"{ROOT}/topics/{topic}", {})
    options = {"function": hook.name, "stream": name, "service_account": EMAIL}
    yield event_sources.Tasks("pubsub", name, options, PLACE)
    api("pubsub").call("DELETE", f"{ROOT}/subscriptions/{name}", missing_ok=True)


def subscription(tasks: event_sources.Tasks) -> dict[str, Any] | None:
    return api("pubsub").get(f"{ROOT}/subscriptions/{tasks.name}")


def patch(tasks: event_sources.Tasks, **fields: Any) -> None:
    body = {"subscription": fields, "updateMask": ",".join(fields)}
    api("pubsub").call("PATCH", f"{ROOT}/subscriptions/{tasks.name}", body)


def publish(topic: str, text: str, **attributes: str) -> str:
    message = {"data": base64.b64encode(text.encode()).decode(), "attributes": attributes}
    answer = api("pubsub").call("POST", f"{ROOT}/topics/{topic}:publish", {"messages": [message]})
    assert answer is not None
    return str(answer["messageIds"][0])


def test_life(tasks: event_sources.Tasks) -> None:
    def by_hand() -> None:
        patch(tasks, ackDeadlineSeconds=99, labels={"team": "x"}, expirationPolicy={"ttl": "864000s"})

    event_sources.life(
        tasks,
        update={"retention": 3600, "min_backoff": 1, "max_backoff": 60, "dead_letter": f"{tasks.name}-dead", "retries": 9},
        by_hand=by_hand,
        seen=["ack_deadline", "expires", "other"],
    )  # fmt: skip


def test_messages_reach_the_function(tasks: event_sources.Tasks, hook: Recorder) -> None:
    given = {"path": "/orders", "filter": 'attributes.kind = "paid"'}
    assert tasks.deploy(**given)["state"] == "deployed"
    ignored = publish(tasks.name, "no", kind="open")
    wanted = publish(tasks.name, "four", kind="paid")
    until(lambda: wanted in hook.messages())
    call = next(each for each in hook.calls if wanted in each["body"])
    told = json.loads(call["body"])
    assert call["path"] == "/orders"
    assert base64.b64decode(told["message"]["data"]) == b"four"
    assert told["message"]["attributes"] == {"kind": "paid"}
    assert told["subscription"] == f"projects/{PROJECT}/subscriptions/{tasks.name}"
    assert ignored not in hook.messages()


def test_disabled_keeps_and_enabled_brings(tasks: event_sources.Tasks, hook: Recorder) -> None:
    assert tasks.deploy(enabled=False)["state"] == "deployed"
    kept = publish(tasks.name, "kept")
    path = f"{ROOT}/subscriptions/{tasks.name}:pull"
    answer = api("pubsub").call("POST", path, {"maxMessages": 10})
    assert answer is not None
    assert [each["message"]["messageId"] for each in answer["receivedMessages"]] == [kept]
    assert kept not in hook.messages()
    api("pubsub").call("POST", f"{ROOT}/subscriptions/{tasks.name}:acknowledge", {
        "ackIds": [each["ackId"] for each in answer["receivedMessages"]]})  # fmt: skip
    later = publish(tasks.name, "later")
    assert tasks.deploy()["state"] == "deployed"
    until(lambda: later in hook.messages())
    assert kept not in hook.messages()


def test_what_fails_is_dead_in_the_end(tasks: event_sources.Tasks, hook: Recorder) -> None:
    dead = f"{tasks.name}-dead"
    api("pubsub").call("PUT", f"{ROOT}/subscriptions/{dead}", {"topic": f"projects/{PROJECT}/topics/{dead}"})
    tasks.deploy(dead_letter=dead, min_backoff=0, max_backoff=0)
    with hook.failing():
        failed = publish(tasks.name, "bad", kind="x")

        def pulled() -> Any:
            answer = api("pubsub").call("POST", f"{ROOT}/subscriptions/{dead}:pull", {"maxMessages": 1})
            return (answer or {}).get("receivedMessages")

        (received,) = until(pulled)
    assert hook.messages().count(failed) == 5, "four retries"
    attributes = received["message"]["attributes"]
    assert (attributes["kind"], attributes["CloudPubSubDeadLetterSourceDeliveryCount"]) == ("x", "5")


def test_a_refused_update_is_put_back(tasks: event_sources.Tasks) -> None:
    tasks.deploy(ack_deadline=30)
    patch(tasks, labels={"team": "x"})
    before = subscription(tasks)
    with pytest.raises(AirflowFailException, match="Resource not found"):
        tasks.deploy(ack_deadline=60, dead_letter="nowhere")
    assert tasks.pushed[-1]["state"] == "rolled_back"
    assert subscription(tasks) == before


def test_an_update_that_did_only_half_is_put_back(tasks: event_sources.Tasks, sandbox: Sandbox) -> None:
    tasks.deploy()
    before = subscription(tasks)
    place = f"pubsub.*/subscriptions/{tasks.name}$"
    fault(sandbox, path=place, method="PATCH", status=400, message="no such thing", done=True)
    with pytest.raises(AirflowFailException, match="no such thing"):
        tasks.deploy(ack_deadline=60)
    assert tasks.pushed[-1]["state"] == "rolled_back"
    assert subscription(tasks) == before


def test_a_new_one_for_another_topic(tasks: event_sources.Tasks) -> None:
    tasks.deploy()
    other = f"{tasks.name}-dead"
    change = tasks.plan(stream=other)
    assert (change["action"], change["risk"]) == ("replace", "high")
    assert tasks.deploy(stream=other)["state"] == "deployed"
    with pytest.raises(AirflowFailException, match="there is no topic"):
        tasks.deploy(stream="nowhere")
    assert tasks.pushed[-1]["state"] == "rolled_back"
    found = subscription(tasks)
    assert found is not None
    assert found["topic"].endswith(other), "it was not deleted before"


@pytest.mark.parametrize("by", ["detached", "topic deleted"])
def test_what_cannot_be_mended_is_made_anew(tasks: event_sources.Tasks, by: str) -> None:
    tasks.deploy()
    path = f"{ROOT}/topics/{tasks.name}"
    if by == "detached":
        api("pubsub").call("POST", f"{ROOT}/subscriptions/{tasks.name}:detach")
    else:
        api("pubsub").call("DELETE", path)
    assert tasks.drift()["state"] == "drifted"
    change = tasks.plan()
    key = "detached: True" if by == "detached" else "stream: _deleted-topic_"
    assert change["action"] == "replace"
    assert any(line.startswith(key) for line in change["lines"]), change["lines"]
    if by != "detached":
        api("pubsub").call("PUT", path, {})
    assert tasks.deploy()["state"] == "deployed"
    assert tasks.drift()["state"] == "in_sync"


@pytest.mark.parametrize("how", ["killed before", "killed after", "answer lost"])
def test_a_cut_off_try_goes_on(tasks: event_sources.Tasks, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    broken = event_sources.BreakingApi(api("pubsub"), how)
    target: Any = PubSub(broken, api("run"), project=PROJECT, region=REGION)  # type: ignore[arg-type]
    monkeypatch.setitem(targets.TARGETS, "pubsub", lambda place: target)

    def to_the_end(change: dict[str, Any], **options: Any) -> int:
        tasks.run_id, tries = uuid.uuid4().hex, 1
        while True:
            try:
                assert tasks.apply(change, **options)["state"] == "deployed"
            except AirflowFailException:
                raise
            except (event_sources.Killed, AirflowException):
                tries += 1
            else:
                return tries

    def count() -> int:
        return sum(broken.done.values())

    assert to_the_end(tasks.plan()) == 2
    assert count() == 1, "made once"
    broken.broken.clear()
    assert to_the_end(tasks.plan(ack_deadline=30, enabled=False), ack_deadline=30, enabled=False) == 2
    assert count() == 2
    broken.broken.clear()
    other = f"{tasks.name}-dead"
    assert to_the_end(tasks.plan(stream=other), stream=other) == 3
    assert count() == 4, "deleted once, made once"
    assert tasks.plan(stream=other)["action"] == "none"


@pytest.mark.parametrize("status", [401, 429, 503])
def test_what_fails_once_is_got_over(tasks: event_sources.Tasks, sandbox: Sandbox, status: int) -> None:
    for verb in ("GET", "PUT", "PATCH", "DELETE"):
        fault(sandbox, path=f"pubsub.*/subscriptions/{tasks.name}", method=verb, status=status, message="x")
    assert tasks.deploy()["state"] == "deployed"
    assert tasks.deploy(ack_deadline=30)["state"] == "deployed"
    assert tasks.delete()["state"] == "destroyed"
    assert subscription(tasks) is None


def test_answers_that_are_lost_on_the_way(tasks: event_sources.Tasks, sandbox: Sandbox) -> None:
    """A creation that is made again says that it is there: then the task's retry looks."""
    for verb in ("PUT", "PATCH", "DELETE"):
        fault(sandbox, path=f"pubsub.*/subscriptions/{tasks.name}", method=verb, status=503, done=True)
    change = tasks.plan()
    with pytest.raises(AirflowException, match="already exists") as raised:
        tasks.apply(change)
    assert not isinstance(raised.value, AirflowFailException)
    assert tasks.apply(change)["state"] == "deployed"
    assert tasks.deploy(ack_deadline=30)["state"] == "deployed"
    assert tasks.delete()["state"] == "destroyed"
    assert subscription(tasks) is None


@pytest.mark.parametrize("verb", ["GET", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(("status", "retried"), [(503, True), (401, False)])
def test_what_lasts_ends_the_try(
    tasks: event_sources.Tasks, sandbox: Sandbox, verb: str, status: int, retried: bool
) -> None:
    """Of the two only credentials end the task; the next try goes on."""
    if verb in ("PATCH", "DELETE"):
        tasks.deploy(ack_deadline=30)
    place = f"pubsub.*/subscriptions/{tasks.name}"
    fault(sandbox, path=place, method=verb, status=status, times=99, message="as ordered")
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


@pytest.fixture(autouse=True)
def no_fault(sandbox: Sandbox) -> Iterator[None]:
    yield
    calm(sandbox)
