"""What the tests of Azure's event sources share: faults at each call of a deployment, and calls that break."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from tests.event_sources import BreakingApi, Killed, Tasks
from tests.ordered import MINE, OWNER
from triplane.sandbox.runtime import Sandbox
from triplane.serverless.events import targets

BREAKS = ("killed before", "killed after", "answer lost")
FAULTS: Mapping[int, dict[str, Any]] = {
    429: {"code": "TooManyRequests", "retry_after": 0},
    503: {"code": "ServiceUnavailable"},
    401: {"code": "ExpiredAuthenticationToken"},
}


class CountingApi:
    """How often an ``Api`` is called."""

    def __init__(self, api: Any) -> None:
        self._api = api
        self.count = 0

    def get(self, path: str, **query: str) -> Any:
        self.count += 1
        return self._api.get(path, **query)

    def call(self, *args: Any, **options: Any) -> Any:
        self.count += 1
        return self._api.call(*args, **options)


@contextmanager
def through(monkeypatch: pytest.MonkeyPatch, wrap: Callable[[Any], Any]) -> Iterator[None]:
    """The targets speak to Resource Manager by what ``wrap`` makes of their ``Api``."""
    real = targets._manager
    with monkeypatch.context() as patch:
        patch.setattr(targets, "_manager", lambda place: wrap(real(place)))
        yield


def calls(monkeypatch: pytest.MonkeyPatch, work: Callable[[], Any]) -> int:
    """How many calls ``work`` makes."""
    counting: list[CountingApi] = []

    def wrap(api: Any) -> CountingApi:
        counting.append(CountingApi(api))
        return counting[-1]

    with through(monkeypatch, wrap):
        work()
    return sum(each.count for each in counting)


class Server:
    """The sandbox's Resource Manager, for faults."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._url = f"http://127.0.0.1:{sandbox.port('azure-arm')}{MINE}"
        self._session = requests.Session()
        self._session.trust_env = False

    def fault(self, **fault: Any) -> None:
        self._session.post(self._url, json={"owner": OWNER, **fault}, timeout=10).raise_for_status()

    def calm(self) -> None:
        self._session.delete(self._url, timeout=10).raise_for_status()


def broken_everywhere(
    tasks: Tasks, monkeypatch: pytest.MonkeyPatch, how: str, *, update: Mapping[str, Any]
) -> None:
    """Each mutating call of a deployment, an update and a deletion breaks once; retries of the same run converge."""
    made: list[BreakingApi] = []

    def wrap(api: Any) -> BreakingApi:
        made.append(BreakingApi(api, how))
        if len(made) > 1:
            made[-1].broken, made[-1].done = made[0].broken, made[0].done
        return made[-1]

    def retried(work: Callable[[], Any]) -> Any:
        made.clear()
        with through(monkeypatch, wrap):
            for number in range(60):
                try:
                    result = work()
                except AirflowFailException:
                    raise
                except (Killed, AirflowException):
                    continue
                assert number >= 1
                return result
        raise AssertionError("it does not end")

    for options in ({}, update):
        tasks.run_id = f"{how} {len(options)}"
        change = tasks.plan(**options)
        result = retried(lambda options=options, change=change: tasks.apply(change, **options))  # type: ignore[misc]
        assert result["state"] == "deployed"
        assert tasks.plan(**options)["action"] == "none"
        assert tasks.drift(**options)["state"] == "in_sync"
    change = tasks.plan(intent="destroy")
    retried(lambda: tasks.delete(change))
    assert tasks.plan()["action"] == "create"


def failing_everywhere(
    tasks: Tasks,
    monkeypatch: pytest.MonkeyPatch,
    server: Any,
    status: int,
    path: str,
    *,
    update: Mapping[str, Any],
) -> None:
    """An update, there and back, whose n-th call fails, for each n. A retry is allowed and converges."""
    tasks.deploy()
    tasks.run_id = "counted"
    change = tasks.plan(**update)
    total = calls(monkeypatch, lambda: tasks.apply(change, **update))
    assert total > 2
    seen, both = set(), (update, {})
    for number in range(total):
        options = both[(number + 1) % 2]
        change = tasks.plan(**options)
        tasks.run_id = f"{status} {number}"
        server.fault(path=path, status=status, after=number, **FAULTS[status])
        said = ""
        try:
            seen.add(tasks.apply(change, **options)["state"])
        except AirflowFailException as error:
            said = f"failed {error}"
        except AirflowException as error:
            said = f"retry {error}"
        assert not said or str(status) in said
        assert status == 401 or not said.startswith("failed"), said
        seen.add(said.partition(" ")[0])
        server.calm()
        again = tasks.plan(**options)
        if again["action"] != "none":
            assert tasks.apply(change, **options)["state"] == "deployed"
            again = tasks.plan(**options)
        assert again["action"] == "none"
    assert seen - {""}
