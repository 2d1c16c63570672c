"""Which calls are repeated, how long is waited, and what is an error at once."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from triplane.core.errors import InputError, StaleError, TransientError
from triplane.serverless.rest import REPEATS, Api
from triplane.serverless.target import DeployFailed


class Service:
    """Answers with ``statuses`` one by one, and then with 200; a status of 0 is a broken connection."""

    def __init__(self, *statuses: int, **headers: str) -> None:
        self.statuses, self.headers = list(statuses), headers
        self.tokens: list[str | None] = []
        self.waits: list[float] = []

    def request(self, verb: str, url: str, *, headers: dict[str, str], **options: Any) -> requests.Response:
        self.tokens.append(headers.get("Authorization"))
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 0:
            raise requests.ConnectionError("reset")
        answer = requests.Response()
        answer.status_code = status
        answer.headers.update({name.replace("_", "-"): value for name, value in self.headers.items()})
        body = {"name": "x"} if status < 400 else {"error": {"status": "S", "message": "no"}}
        answer._content = json.dumps(body).encode()
        return answer

    def api(self, **options: Any) -> Api:
        return Api(self, "https://example.com", sleep=self.waits.append, **options)


@pytest.mark.parametrize("verb", ["GET", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("status", [0, 429, 500, 503])
def test_what_does_no_harm_twice_is_repeated(verb: str, status: int) -> None:
    service = Service(status, status)
    assert service.api().call(verb, "x", {}) == {"name": "x"}
    assert len(service.tokens) == 3
    first, second = service.waits
    assert 0 < first < second


def test_it_ends_sometime() -> None:
    service = Service(*[503] * REPEATS.tries)
    with pytest.raises(TransientError, match="503 S: no"):
        service.api().get("x")
    assert len(service.tokens) == REPEATS.tries
    assert len(service.waits) == REPEATS.tries - 1


@pytest.mark.parametrize("status", [0, 500, 503])
@pytest.mark.parametrize(
    ("verb", "headers"), [("POST", {}), ("PUT", {"If-Match": "1"}), ("DELETE", {"if-none-match": "*"})]
)
def test_the_tasks_retry_looks_first(verb: str, headers: dict[str, str], status: int) -> None:
    service = Service(status)
    with pytest.raises(TransientError):
        service.api().call(verb, "x", {}, headers=headers)
    assert len(service.tokens) == 1


def test_what_was_turned_away_was_not_done() -> None:
    service = Service(429, 429)
    assert service.api().call("POST", "x", {}) == {"name": "x"}
    assert len(service.tokens) == 3


def test_the_service_says_how_long() -> None:
    service = Service(503, 429, Retry_After="7")
    assert service.api().get("x") == {"name": "x"}
    assert service.waits == [7.0, 7.0]
    service = Service(429, Retry_After=str(int(REPEATS.longest) + 1))
    with pytest.raises(TransientError):
        service.api().get("x")
    assert service.waits == []


def test_a_new_token_helps_once() -> None:
    tokens = iter(["old", "new"])
    service = Service(401)
    assert service.api(token=lambda: next(tokens)).call("POST", "x", {}) == {"name": "x"}
    assert service.tokens == ["Bearer old", "Bearer new"]
    service = Service(401, 401)
    with pytest.raises(InputError, match="renew them"):
        service.api(token=lambda: "old").call("POST", "x", {})
    assert len(service.tokens) == 2
    service = Service(401)
    with pytest.raises(InputError, match="renew them"):
        service.api().get("x")
    assert len(service.tokens) == 1


@pytest.mark.parametrize(("status", "kind"), [(400, DeployFailed), (403, DeployFailed), (412, StaleError)])
def test_what_a_retry_does_not_help(status: int, kind: type[Exception]) -> None:
    service = Service(status)
    with pytest.raises(kind):
        service.api().call("PUT", "x", {})
    assert len(service.tokens) == 1


def test_a_page_of_a_proxy() -> None:
    class Page(Service):
        def request(self, verb: str, url: str, **options: Any) -> requests.Response:
            answer = super().request(verb, url, **options)
            answer._content = b"<html>Sign in</html>"
            return answer

    with pytest.raises(TransientError, match="without JSON: <html>"):
        Page().api().get("x")
