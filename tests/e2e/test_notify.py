"""Every channel against its service, through unmodified hooks and clients."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from tests.e2e.monitoring_lab import direct
from tests.loopback import Answer
from tests.ordered import MINE, OWNER
from tests.receivers import EventGridService, Mailbox, Receiver, SlackService, TeamsService
from triplane import settings
from triplane.notify.message import Message
from triplane.notify.send import notify
from triplane.sandbox.runtime import Sandbox

SECRET = "Pl4nted-notify-8842c"
TEXT = f"**aws/stack/network**: update <b>\n\n- password = {SECRET}\n- [log](https://example.com/log)"
MESSAGE = Message(
    event="approval_needed",
    environment="prod",
    subject="Approval needed: shop to prod\r\nBcc: all@example.com",
    text=TEXT,
    link="https://airflow.example.com/dags/deploy/runs/r1/required_actions",
    thread="r1",
)
LATER = replace(MESSAGE, event="deployed", subject="Deployed to prod: größer")


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    settings.register_secret(SECRET)


Connect = Callable[..., str]


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    def make(conn_type: str, **fields: Any) -> str:
        value = json.dumps({"conn_type": conn_type, **fields})
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_type.upper()}_UNDER_TEST", value)
        return f"{conn_type}_under_test"

    return make


def route(channel: str, /, **options: Any) -> dict[str, Any]:
    return {"name": "ops", "platform": "shop", "channel": channel, "options": options}


@pytest.fixture
def slack() -> Iterator[SlackService]:
    with SlackService("xoxb-1234567890-abcdef").serving() as service:
        yield service


def slack_app(
    service: SlackService, connect: Connect, token: str = "xoxb-1234567890-abcdef"
) -> dict[str, Any]:
    conn_id = connect("slack", password=token, extra={"base_url": f"{service.url}/api/"})
    return route("slack", connection=conn_id, channel="#deployments")


def test_slack_gets_each_event_once_in_one_thread(slack: SlackService, connect: Connect) -> None:
    ours = slack_app(slack, connect)
    for message in (MESSAGE, MESSAGE, LATER, MESSAGE, replace(MESSAGE, thread="r2")):
        notify([ours], message)
    assert [body.get("thread_ts") for body in slack.taken] == [None, "1700000000.000001", None]
    header, section, actions = slack.taken[0]["blocks"]
    assert header["text"]["text"] == "[shop] Approval needed: shop to prod Bcc: all@example.com"
    assert "*aws/stack/network*: update &lt;b&gt;" in section["text"]["text"]
    assert "<https://example.com/log|log>" in section["text"]["text"]
    assert actions["elements"][0]["url"] == MESSAGE.link
    assert SECRET not in json.dumps(slack.taken)


def test_slack_is_asked_again_after_a_pause_and_not_after_a_refusal(
    slack: SlackService, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    slack.faults = [Answer(429, {"ok": False, "error": "ratelimited"}, {"Retry-After": "1"})]
    begin = time.monotonic()
    notify([slack_app(slack, connect)], MESSAGE)
    assert (len(slack.taken), time.monotonic() - begin >= 1) == (1, True)
    notify([slack_app(slack, connect, token="xoxb-9999999999-wrong")], LATER)
    assert len(slack.requests) == 3
    assert "invalid_auth" in caplog.text
    assert "9999999999" not in caplog.text
    notify([slack_app(slack, connect)], LATER)
    assert len(slack.taken) == 2


def test_slack_webhook(slack: SlackService, connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    url = f"{slack.url}/services/T0000/B0000/hook-secret"
    notify([route("slack", connection=connect("slackwebhook", password=url))], MESSAGE)
    assert slack.taken[0]["blocks"][0]["type"] == "header"
    gone = connect("slackwebhook", password="http://127.0.0.1:9/services/T0000/B0000/hook-secret")
    notify([route("slack", connection=gone)], LATER)
    assert "deployed was not told to ops" in caplog.text
    assert "hook-secret" not in caplog.text


@pytest.mark.parametrize(
    "text", ["x" * 50_000, "line ü\n" * 20_000, "```\n" + "code & <tag>\n" * 9_000 + "```"]
)
def test_long_texts_are_cut_to_what_each_service_takes(
    text: str, slack: SlackService, connect: Connect
) -> None:
    long = replace(MESSAGE, text=text, subject="s" * 400)
    with TeamsService().serving() as teams, EventGridService("cloud_events", "k" * 20).serving() as grid:
        host = f"{teams.url}/workflows/1?sig=Teams-signature-3f81"
        key = connect("generic", password="k" * 20)
        ours = [
            slack_app(slack, connect),
            route("teams", connection=connect("http", host=host)),
            route("event_grid", topic=f"{grid.url}/api/events", key=key),
        ]
        notify([{**each, "name": each["channel"]} for each in ours], long)
        assert [len(service.taken) for service in (slack, teams, grid)] == [1, 1, 1]
        assert "(shortened)" in json.dumps(slack.taken)
        assert "(shortened)" in json.dumps(teams.taken)


def test_teams(connect: Connect) -> None:
    with TeamsService().serving() as teams:
        host = f"{teams.url}/workflows/1?api-version=1&sig=Teams-signature-3f81"
        notify([route("teams", connection=connect("http", host=host))], MESSAGE)
        (card,) = teams.taken
    assert card["actions"][0]["url"] == MESSAGE.link
    assert SECRET not in json.dumps(card)


def test_what_cannot_be_sent_is_logged_without_the_url(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    with TeamsService().serving() as teams:
        host = f"{teams.url}/workflows/1?sig=another-signature-77d1"
        notify([route("teams", connection=connect("http", host=host))], MESSAGE)
        assert len(teams.requests) == 1
        teams.faults = [Answer(302, "", {"Location": f"{teams.url}/login"})]
        notify([route("teams", connection=connect("http", host=host))], MESSAGE)
    assert caplog.text.count("approval_needed was not told to ops") == 2
    assert "another-signature-77d1" not in caplog.text


def test_webhook(connect: Connect) -> None:
    with Receiver().serving() as hook:
        fields = {
            "host": f"{hook.url}/in",
            "login": "u",
            "password": "hook-password",
            "extra": {"X-Team": "ops"},
        }
        ours = route("webhook", connection=connect("http", **fields))
        hook.faults = [Answer(503, "later")]
        notify([{**ours, "events": ["approval_needed"], "environments": ["prod"]}], MESSAGE)
        notify([{**ours, "events": ["failed"]}, {**ours, "environments": ["test"]}], LATER)
        (body,) = hook.taken
        assert hook.requests[-1].headers["X-Team"] == "ops"
        assert hook.requests[-1].headers["Authorization"].startswith("Basic ")
        assert {request.headers["Idempotency-Key"] for request in hook.requests} == {body["id"]}
    assert {key: body[key] for key in ("event", "environment", "thread", "link")} == {
        "event": "approval_needed",
        "environment": "prod",
        "thread": "r1",
        "link": MESSAGE.link,
    }
    assert SECRET not in body["text"]


def test_a_template_of_the_route(connect: Connect) -> None:
    with Receiver().serving() as hook:
        ours = route("webhook", connection=connect("http", host=hook.url))
        text = (
            "{{ platform }}: {{ subject | upper }} {{ ''.__class__ }}{% if event == 'failed' %}!{% endif %}"
        )
        notify([{**ours, "template": text.replace(" {{ ''.__class__ }}", "")}], LATER)
        notify([{**ours, "template": text}], replace(LATER, thread="r3"))
        (body,) = hook.taken
    assert body["text"] == "shop: DEPLOYED TO PROD: GRÖSSER"


def test_a_slow_service_does_not_hold_the_task(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told = threading.Event()

    class Slow(Receiver):
        def take(self, request: Any) -> Answer:
            told.wait(60)
            return Answer(200, {})

    monkeypatch.setattr("triplane.notify.send.LIMIT", 2)
    with Slow().serving() as slow, Receiver().serving() as other:
        begin = time.monotonic()
        notify(
            [
                route("webhook", connection=connect("http", host=slow.url)),
                {**route("webhook", connection=connect("https", host=other.url)), "name": "others"},
            ],
            MESSAGE,
        )
        assert time.monotonic() - begin < 30
        told.set()
        assert len(other.taken) == 1
    assert "it took more than 2 s" in caplog.text


def test_email_is_one_conversation(connect: Connect) -> None:
    mailbox = Mailbox()
    with mailbox.serving() as port:
        extra = {"disable_tls": True, "disable_ssl": True, "from_email": "triplane@example.com"}
        conn_id = connect("smtp", host="127.0.0.1", port=port, extra=extra)
        ours = route("email", connection=conn_id, to=["ops@example.com", "dev@example.com"])
        for message in (MESSAGE, MESSAGE, LATER):
            notify([ours], message)
    first, second = mailbox.taken
    assert mailbox.recipients == [["ops@example.com", "dev@example.com"]] * 2
    assert first["Subject"] == "[shop] Approval needed: shop to prod Bcc: all@example.com"
    assert first["Bcc"] is None
    assert second["Subject"] == "[shop] Deployed to prod: größer"
    assert second["References"] == second["In-Reply-To"] == first["Message-ID"]
    html = mailbox.html(0)
    assert "<strong>aws/stack/network</strong>: update &lt;b&gt;" in html
    assert f'<a href="{MESSAGE.link}">' in html
    assert SECRET not in html


@pytest.mark.parametrize("schema", ["cloud_events", "event_grid"])
def test_event_grid_with_a_key(schema: str, connect: Connect) -> None:
    with EventGridService(schema, "grid-key-5512").serving() as grid:
        options = {"topic": f"{grid.url}/api/events", "event_schema": schema}
        key = connect("generic", password="grid-key-5512")
        notify([route("event_grid", key=key, **options)], MESSAGE)
        wrong = connect("generic", password="grid-key-0000")
        notify([route("event_grid", key=wrong, **options)], LATER)
        (event,) = grid.taken
    assert event.get("type", event.get("eventType")) == "triplane.approval_needed"
    assert event["data"]["link"] == MESSAGE.link


def test_event_grid_with_the_identity_of_a_connection(cloud_env: dict[str, str]) -> None:
    with EventGridService("cloud_events", "k" * 20, token="any").serving() as grid:
        options = {"topic": f"{grid.url}/api/events", "connection": "azure_default"}
        notify([route("event_grid", **options)], MESSAGE)
        assert len(grid.taken) == 1
        assert grid.requests[0].headers["Authorization"].count(".") == 2


def test_sns(cloud_env: dict[str, str]) -> None:
    from triplane.clouds import aws

    sns, sqs = (aws.client(name, "aws_default", "eu-west-1") for name in ("sns", "sqs"))
    topic = sns.create_topic(Name="notify-test")["TopicArn"]
    queue = sqs.create_queue(QueueName="notify-test")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    ours = route("sns", connection="aws_default", topic=topic)
    for message in (MESSAGE, MESSAGE, replace(LATER, text="x" * 400_000)):
        notify([ours], message)
    found = []
    while answer := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
        found += [json.loads(item["Body"]) for item in answer]
        for item in answer:
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=item["ReceiptHandle"])
    by_event = {item["MessageAttributes"]["event"]["Value"]: item for item in found}
    assert (len(found), set(by_event)) == (2, {"approval_needed", "deployed"})
    assert by_event["deployed"]["Subject"] == "[shop] Deployed to prod: gr??er"
    assert by_event["approval_needed"]["Message"].endswith(f"\n\n{MESSAGE.link}")
    assert SECRET not in json.dumps(found)


def test_pubsub(cloud_env: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    import base64

    from triplane.clouds import gcp

    session = gcp.session("google_cloud_default")
    base = "https://pubsub.googleapis.com/v1/projects/triplane-sandbox"
    assert session.put(f"{base}/topics/notify-test", json={}).status_code in (200, 409)
    body = {"topic": "projects/triplane-sandbox/topics/notify-test"}
    assert session.put(f"{base}/subscriptions/notify-test", json=body).status_code in (200, 409)
    for topic, message in (("notify-test", MESSAGE), ("notify-test", MESSAGE), ("not-there", LATER)):
        options = {"connection": "google_cloud_default", "project": "triplane-sandbox", "topic": topic}
        notify([route("pubsub", **options)], message)
    answer = session.post(f"{base}/subscriptions/notify-test:pull", json={"maxMessages": 10}).json()
    (received,) = answer["receivedMessages"]
    data = json.loads(base64.b64decode(received["message"]["data"]))
    assert (data["event"], received["message"]["attributes"]["environment"]) == ("approval_needed", "prod")
    assert "deployed was not told to ops" in caplog.text


@pytest.mark.parametrize(
    ("status", "times", "told"), [(429, 1, True), (503, 1, True), (429, 99, False), (401, 99, False)]
)
def test_a_topic_that_is_busy_or_refuses(
    status: int, times: int, told: bool, sandbox: Sandbox, cloud_env: dict[str, str],
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    from triplane.clouds import gcp

    caplog.set_level(logging.INFO)
    monkeypatch.setattr("triplane.notify.send.FIRST_WAIT", 0.05)
    topic = "https://pubsub.googleapis.com/v1/projects/triplane-sandbox/topics/notify-busy"
    assert gcp.session("google_cloud_default").put(topic, json={}).status_code in (200, 409)
    fault = {"owner": OWNER, "path": "topics/notify-busy:publish", "status": status, "times": times}
    direct(sandbox, "gcp-rest", MINE, {**fault, "message": "not now"})
    options = {"connection": "google_cloud_default", "project": "triplane-sandbox", "topic": "notify-busy"}
    try:
        notify([route("pubsub", **options)], MESSAGE)
    finally:
        direct(sandbox, "gcp-rest", MINE, None, "DELETE")
    assert ("approval_needed was told to ops" in caplog.text) is told
    assert ("approval_needed was not told to ops" in caplog.text) is not told


def test_without_a_store_or_a_connection_the_task_goes_on(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", "")
    with Receiver().serving() as hook:
        ours = route("webhook", connection=connect("http", host=hook.url))
        notify(
            [route("webhook", connection="not_there"), {"name": "odd", "channel": "pigeon"}, ours], MESSAGE
        )
        assert len(hook.taken) == 1
    assert "Airflow has no connection not_there" in caplog.text
    assert "'pigeon' is not a channel" in caplog.text
