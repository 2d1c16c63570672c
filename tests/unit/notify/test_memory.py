"""A message is sent once, by one of several, and again where the first was killed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from triplane.core.store import ArtifactStore
from triplane.notify.memory import SENDING_SECONDS, Memory
from triplane.notify.message import Message

MESSAGE = Message(event="failed", environment="prod", subject="s", text="t", thread="r1")


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path, [Fernet.generate_key().decode()])


def test_one_of_many_at_once_sends(store: ArtifactStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda _: Memory(store, "ops").claim("m"), range(40)))
    assert claims.count(True) == 1


def test_what_was_sent_is_not_sent_again(store: ArtifactStore) -> None:
    memory = Memory(store, "ops")
    assert memory.claim("m")
    memory.sent("m")
    assert not Memory(store, "ops").claim("m")
    assert Memory(store, "others").claim("m")


def test_what_failed_is_sent_by_the_next_try(store: ArtifactStore) -> None:
    memory = Memory(store, "ops")
    assert memory.claim("m")
    memory.failed("m")
    assert Memory(store, "ops").claim("m")


def test_the_claim_of_a_killed_sender_ends(store: ArtifactStore) -> None:
    assert Memory(store, "ops", clock=lambda: 1000.0).claim("m")
    assert not Memory(store, "ops", clock=lambda: 999.0 + SENDING_SECONDS).claim("m")
    assert Memory(store, "ops", clock=lambda: 1001.0 + SENDING_SECONDS).claim("m")


def test_the_first_message_of_a_thread_stays_its_anchor(store: ArtifactStore) -> None:
    memory = Memory(store, "ops")
    assert memory.anchor("r1") == ""
    memory.begin("r1", "1.1")
    memory.begin("r1", "1.2")
    assert (memory.anchor("r1"), memory.anchor("r2"), memory.anchor("")) == ("1.1", "", "")


def test_what_makes_a_message_the_same() -> None:
    same = [replace(MESSAGE, text="other"), replace(MESSAGE, link="x"), replace(MESSAGE, subject="other")]
    others = [
        replace(MESSAGE, event="deployed"),
        replace(MESSAGE, thread="r2"),
        replace(MESSAGE, environment="test"),
        replace(MESSAGE, key="2"),
    ]
    assert {message.identity for message in same} == {MESSAGE.identity}
    assert len({message.identity for message in others} | {MESSAGE.identity}) == 5


def test_reminders_differ_by_what_they_say() -> None:
    first = replace(MESSAGE, event="reminder")
    assert first.identity != replace(first, text="two hours").identity
    assert replace(first, key="1").identity == replace(first, key="1", text="two hours").identity
