from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from triplane.core.errors import RefusedError
from triplane.machines.ansible import HostsError, Play
from triplane.machines.events import HostSummary, Recap, TaskResult
from triplane.machines.hosts import parse
from triplane.machines.kept import Kept, begin
from triplane.machines.rolling import Gate, Roll, summary, totals

HOSTS = parse({name: f"10.0.0.{n}" for n, name in enumerate("abcd", 1)})


class Fake:
    """Ansible that answers by a table: host -> state."""

    def __init__(self, **states: str) -> None:
        self.states = states
        self.plays: list[Play] = []

    def run(self, play: Play, job: Any) -> Recap:
        self.plays.append(play)
        names = play.limit or tuple("abcd")
        recap = Recap(targets=set(names), complete=True)
        for name in names:
            state = self.states.get(name, "changed")
            recap.hosts[name] = HostSummary(**{state.split()[0]: 1})
            message = "Host key verification failed." if "key" in state else "it said so"
            recap.results.append(
                TaskResult(
                    host=name, task="t", action="copy", where="", state=state.split()[0], message=message
                )
            )
        return recap


def roll(fake: Fake, saved: list[Kept], **more: Any) -> Kept:
    kept = begin(None, settings="s", run="r", arguments={}, hosts=list("abcd"))
    found = Roll(ansible=fake, playbook="p", hosts=HOSTS, save=saved.append, **more)  # type: ignore[arg-type]
    return found.go(kept)


def test_batch_by_batch() -> None:
    fake, saved = Fake(), list[Kept]()
    assert roll(fake, saved, serial=[1, 2]).left == ()
    assert [play.limit for play in fake.plays] == [("a",), ("b", "c"), ("d",)]
    assert [len(kept.left) for kept in saved] == [4, 3, 1, 0]


def test_all_at_once_needs_no_limit() -> None:
    fake = Fake()
    roll(fake, [])
    assert [play.limit for play in fake.plays] == [None]


def test_a_batch_that_fails_ends_it() -> None:
    fake, saved = Fake(b="failed", c="unreachable"), list[Kept]()
    said = (
        r"of 4 hosts 1 failed \(b: t: it said so\), 1 unreachable \(c: it said so\), 1 not begun, 1 are done"
    )
    with pytest.raises(HostsError, match=said):
        roll(fake, saved, serial=[1, 2])
    assert saved[-1].left == ("b", "c", "d")
    states = {name: body["state"] for name, body in summary(saved[-1]).items()}
    assert states == {"a": "changed", "b": "failed", "c": "unreachable"}
    assert totals(saved[-1], 4) == {
        "hosts": "4",
        "ok": "0",
        "changed": "1",
        "failed": "1",
        "unreachable": "1",
    }


def test_another_host_key_is_no_case_for_a_retry() -> None:
    with pytest.raises(RefusedError, match="d did not show the host key that is known"):
        roll(Fake(d="unreachable key"), [])


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, int]]]:
    answers: dict[str, int] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answers.get(self.path, 200))
            self.end_headers()

        def log_message(self, *args: Any) -> None: ...

    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{found.server_port}", answers
    found.shutdown()
    found.server_close()


def test_a_gate_between_batches(server: tuple[str, dict[str, int]]) -> None:
    url, answers = server
    gate = Gate(url=f"{url}/{{host}}", within=0.2, every=0.1)
    fake = Fake()
    assert roll(fake, [], serial=[2], gate=gate).left == ()
    answers["/b"] = 503
    saved: list[Kept] = []
    with pytest.raises(
        HostsError, match=r"the gate after a, b did not open within 0.2 s: .*/b answers 503"
    ) as raised:
        roll(Fake(), saved, serial=[2], gate=gate)
    assert "The other 2 hosts were not begun" in str(raised.value)
    assert saved[-1].left == ("c", "d")
    answers["/d"] = 503
    answers["/b"] = 200
    assert roll(Fake(), [], serial=[2], gate=gate).left == (), "nothing comes after the last batch"


def test_urls_of_a_gate() -> None:
    assert Gate(url="http://{address}/").urls(HOSTS[:2]) == ["http://10.0.0.1/", "http://10.0.0.2/"]
    assert Gate(url="http://all/").urls(HOSTS) == ["http://all/"]
