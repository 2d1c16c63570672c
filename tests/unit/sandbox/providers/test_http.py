from __future__ import annotations

from collections.abc import Iterator

import pytest

from triplane.sandbox.providers import http
from triplane.sandbox.providers.http import Reply, Request
from triplane.sandbox.providers.schema import CloudError, NotFound

REQUEST = Request(method="GET", host="ec2.eu-west-1.amazonaws.com", path="/", headers={})


@pytest.mark.parametrize("proxy", ["", "http://proxy.example.com:3128", "http://127.0.0.1"])
def test_nothing_is_sent_outside_of_a_sandbox(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.delenv("https_proxy", raising=False)
    with pytest.raises(CloudError, match="sandbox only"):
        http.send(REQUEST, lambda reply: "")


def answers(monkeypatch: pytest.MonkeyPatch, *statuses: int) -> list[float]:
    """The service answers with ``statuses``; returns the pauses that are made."""
    left: Iterator[int] = iter(statuses)
    pauses: list[float] = []
    monkeypatch.setattr(http, "_once", lambda request: Reply(status=next(left), headers={}, body=b""))
    monkeypatch.setattr(http.time, "sleep", pauses.append)
    return pauses


def test_a_busy_service_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = answers(monkeypatch, 429, 503, 200)
    assert http.send(REQUEST, lambda reply: "").status == 200
    assert pauses == [0.2, 0.5]


def test_a_service_that_stays_busy_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, *[503] * (len(http.PAUSES) + 1))
    with pytest.raises(CloudError, match="503 too busy"):
        http.send(REQUEST, lambda reply: "too busy")


def test_what_is_not_there_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, 404)
    with pytest.raises(NotFound, match="no such thing"):
        http.send(REQUEST, lambda reply: "no such thing")
