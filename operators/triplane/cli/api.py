"""Airflow's public REST API for one user, over connections that may be lost."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import httpx

from triplane.cli.exits import DeniedError, NotFoundError, RemoteError, UnreachableError
from triplane.cli.text import clean
from triplane.core.asked import SETTLE_SECONDS
from triplane.core.errors import InputError

SERVERS = ("TRIPLANE_SERVER", "AIRFLOW_URL")
FIRST_PATIENCE = 15.0
"""Seconds to wait for a server that has never answered: its address may be wrong."""
PATIENCE = 300.0
LONGEST_PAUSE = 10.0
FRESH = timedelta(minutes=1)
"""A question that is older has settled, whatever the clocks say."""
PAGE = 100
TRANSIENT = (429, 500, 502, 503, 504)


class Login(NamedTuple):
    """A token, or a user with a password, from the environment."""

    token: str = ""
    user: str = ""
    password: str = ""

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Login:
        """What the environment holds. :raises InputError: it holds neither"""
        token, user = environ.get("TRIPLANE_TOKEN", ""), environ.get("TRIPLANE_USER", "")
        password = environ.get("TRIPLANE_PASSWORD", "")
        if not token and not (user and password):
            raise InputError(
                "no credentials: set TRIPLANE_TOKEN, or TRIPLANE_USER and TRIPLANE_PASSWORD, in the environment"
            )
        return cls(token, user, password)


class Api:
    """The calls that the commands make. GETs, and what is safe to repeat, outlive a lost connection.

    :param server: the address of Airflow's UI and API
    :param patience: so many seconds it may be away, once it has answered
    :param say: is told when the connection is lost and when it is back
    """

    def __init__(
        self,
        server: str,
        login: Login,
        *,
        ca: str | None = None,
        patience: float = PATIENCE,
        say: Callable[[str], None] = lambda text: None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.server = _address(server)
        self.say = say
        self._login = login
        self._patience = patience
        self._sleep = sleep
        self._clock = clock
        self._answered = False
        self._token = login.token
        self._client = httpx.Client(
            base_url=self.server,
            timeout=httpx.Timeout(30, connect=10),
            verify=_verify(ca),
            transport=transport,
        )

    @property
    def user(self) -> str:
        """Who is signed in, as far as the credentials say; empty if they do not."""
        return self._login.user or _subject(self._token)

    def get(self, path: str, **params: Any) -> Any:
        """The JSON that a GET answers."""
        return self._json(self._send("GET", path, params=params))

    def pages(self, path: str, items: str, **params: Any) -> Iterator[dict[str, Any]]:
        """All ``items`` of a list, page by page."""
        offset = 0
        while True:
            page = self.get(path, limit=PAGE, offset=offset, **params)
            yield from page[items]
            offset += len(page[items])
            if not page[items] or offset >= page["total_entries"]:
                return

    def start(self, dag_id: str, run_id: str, conf: Mapping[str, Any], note: str) -> bool:
        """Start a run; false if a run of this id is there already."""
        body = {"logical_date": None, "dag_run_id": run_id, "conf": dict(conf), "note": note}
        answer = self._send("POST", f"/dags/{quote(dag_id)}/dagRuns", json=body)
        if answer.status_code == 409:
            return False
        self._json(answer)
        return True

    def settle(self, questions: Iterable[Mapping[str, Any]]) -> None:
        """Wait until the tasks that ask surely rest, see :data:`triplane.core.asked.SETTLE_SECONDS`."""
        asked = (datetime.fromisoformat(question["created_at"]) for question in questions)
        if any(datetime.now(UTC) - moment < FRESH for moment in asked):
            self._sleep(SETTLE_SECONDS)

    def answer(self, question: Mapping[str, Any], option: str, params: Mapping[str, Any]) -> None:
        """Answer a question that has settled. :raises RemoteError: somebody was faster"""
        task = question["task_instance"]
        path = f"{_run(task['dag_id'], task['dag_run_id'])}/taskInstances/{quote(task['task_id'])}/{task['map_index']}"
        body = {"chosen_options": [option], "params_input": dict(params)}
        answer = self._send("PATCH", f"{path}/hitlDetails", json=body)
        if answer.status_code == 409 and not self._is_ours(f"{path}/hitlDetails", body):
            raise RemoteError(f"{task['task_id']} was answered by somebody else in the meantime")
        if answer.status_code != 409:
            self._json(answer)

    def fail(self, dag_id: str, run_id: str) -> None:
        """Mark a run as failed, which ends it."""
        self._json(self._send("PATCH", _run(dag_id, run_id), json={"state": "failed"}))

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """One run."""
        return dict(self.get(_run(dag_id, run_id)))

    def xcom(self, task: Mapping[str, Any], key: str = "return_value") -> Any:
        """What a task pushed, None if it pushed nothing of this name."""
        path = f"{_run(task['dag_id'], task['dag_run_id'])}/taskInstances/{quote(task['task_id'])}/xcomEntries/{key}"
        try:
            return self.get(path, deserialize=True, map_index=task["map_index"])["value"]
        except NotFoundError:
            return None

    def log(self, task: Mapping[str, Any], token: str | None = None, *, full: bool = False) -> dict[str, Any]:
        """One piece of the log of a task's last try: ``content``, and ``continuation_token`` while there is more."""
        path = f"{_run(task['dag_id'], task['dag_run_id'])}/taskInstances/{quote(task['task_id'])}"
        params: dict[str, Any] = {"map_index": task["map_index"], "full_content": full}
        if token:
            params["token"] = token
        return dict(self.get(f"{path}/logs/{max(task['try_number'], 1)}", **params))

    def link(self, dag_id: str, run_id: str, task_id: str = "") -> str:
        """Where people see a run, or answer what a task of it asks."""
        run = f"{self.server}/dags/{quote(dag_id)}/runs/{quote(run_id, safe=':+')}"
        return f"{run}/tasks/{quote(task_id)}/required_actions" if task_id else run

    def _is_ours(self, path: str, body: Mapping[str, Any]) -> bool:
        """Whether an answer arrived whose confirmation was lost."""
        found = self.get(path)
        user = found.get("responded_by_user") or {}
        return self.user in (user.get("id"), user.get("name")) and all(
            found.get(name) == value for name, value in body.items()
        )

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send until there is an answer that repeating cannot change."""
        began, pause, lost = self._clock(), 0.5, False
        signed_in_again = False
        while True:
            problem = ""
            try:
                if not self._token:
                    self._sign_in()
                headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
                answer = self._client.request(method, f"/api/v2{path}", headers=headers, **options)
                if answer.status_code == 401 and self._login.password and not signed_in_again:
                    self._token, signed_in_again = "", True
                    continue
                if answer.status_code not in TRANSIENT:
                    self._answered = True
                    if lost:
                        self.say("the connection is back")
                    return answer
                problem = f"answers {answer.status_code}"
            except _Away as error:
                problem = str(error)
            except httpx.TransportError as error:
                problem = str(error) or type(error).__name__
            pause = self._wait(problem, began, pause, first=not lost)
            lost = True

    def _wait(self, problem: str, began: float, pause: float, *, first: bool) -> float:
        limit = self._patience if self._answered else min(self._patience, FIRST_PATIENCE)
        waited = self._clock() - began
        if waited + pause > limit:
            raise UnreachableError(
                f"cannot reach Airflow at {self.server} for {waited:.0f} s: {clean(problem)}; what runs there goes on"
            )
        if first:
            self.say(f"no connection to Airflow ({clean(problem)}); trying again for {limit:.0f} s")
        self._sleep(pause)
        return min(pause * 2, LONGEST_PAUSE)

    def _sign_in(self) -> None:
        body = {"username": self._login.user, "password": self._login.password}
        answer = self._client.post("/auth/token", json=body)
        if answer.status_code in TRANSIENT:
            raise _Away(f"answers {answer.status_code}")
        if answer.status_code != 201:
            raise DeniedError(f"{self._login.user} cannot sign in to {self.server}: {answer.status_code}")
        self._token = str(answer.json()["access_token"])

    def _json(self, answer: httpx.Response) -> Any:
        if answer.is_success:
            try:
                return answer.json()
            except ValueError as error:
                raise RemoteError(f"{self.server} does not answer as Airflow does: no JSON") from error
        where = f"{answer.request.method} {answer.request.url.path}"
        text = f"{where}: {answer.status_code} {clean(_detail(answer))}"
        if answer.status_code == 401:
            raise DeniedError(f"the credentials are not valid, or not any more: {text}")
        if answer.status_code == 403:
            raise DeniedError(f"{self.user or 'this user'} may not do this: {text}")
        raise (NotFoundError if answer.status_code == 404 else RemoteError)(text)


class _Away(Exception):
    """The server is there, but not ready."""


def connect(
    server: str | None,
    ca: str | None,
    patience: float,
    say: Callable[[str], None],
    environ: Mapping[str, str],
) -> Api:
    """A client as the options and the environment say. :raises InputError: something is missing"""
    address = server or next((environ[name] for name in SERVERS if environ.get(name)), "")
    if not address:
        raise InputError(
            f"which Airflow? Give --server, or set {SERVERS[0]}, such as https://airflow.example.com"
        )
    return Api(address, Login.of(environ), ca=ca or environ.get("TRIPLANE_CA"), patience=patience, say=say)


def _run(dag_id: str, run_id: str) -> str:
    return f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id)}"


def _address(server: str) -> str:
    parts = urlsplit(server)
    if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc:
        raise InputError(
            f"{server.rpartition('@')[2]!r} is not an address such as https://airflow.example.com (credentials belong "
            "into the environment)"
        )
    return server.rstrip("/").removesuffix("/api/v2")


def _verify(ca: str | None) -> Any:
    if not ca:
        return True
    import ssl

    try:
        return (
            ssl.create_default_context(cafile=ca)
            if os.path.isfile(ca)
            else ssl.create_default_context(capath=ca)
        )
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"{ca} holds no certificates to trust: {error}") from error


def _subject(token: str) -> str:
    """Who a token was made for, as it says itself."""
    try:
        payload = token.split(".")[1]
        return str(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))).get("sub", ""))
    except (IndexError, ValueError, AttributeError):
        return ""


def _detail(answer: httpx.Response) -> str:
    try:
        detail = answer.json().get("detail")
    except (ValueError, AttributeError):
        detail = None
    return detail if isinstance(detail, str) else json.dumps(detail) if detail else answer.text
