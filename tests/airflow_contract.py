"""A small Airflow REST API in memory, held to the OpenAPI description that Airflow itself ships.

Every request must be one that the description knows, with parameters and a body that it allows, and every answer that
is given must have the shape that it promises.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import httpx
import yaml
from jsonschema import Draft202012Validator

PASSWORD = "a-password"


@cache
def description() -> dict[str, Any]:
    """Airflow's own description of its API."""
    package = find_spec("airflow.api_fastapi.core_api.openapi")
    assert package
    assert package.origin
    text = Path(package.origin).with_name("v2-rest-api-generated.yaml").read_text()
    return dict(yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


@cache
def _paths() -> list[tuple[re.Pattern[str], str]]:
    return [
        (re.compile(re.sub(r"\\\{\w+\\\}|\{\w+\}", "[^/]+", path) + "$"), path)
        for path in description()["paths"]
    ]


def operation(method: str, path: str) -> Mapping[str, Any]:
    """The description of one call; fails if there is none."""
    fitting = [name for pattern, name in _paths() if pattern.match(path)]
    exact = sorted(fitting, key=lambda name: name.count("{"))
    assert exact, f"{path} is no path of Airflow's API"
    found = description()["paths"][exact[0]].get(method.lower())
    assert found, f"{exact[0]} has no {method}"
    return dict(found)


def check(schema: Mapping[str, Any], value: Any) -> None:
    """Make sure that ``value`` has the shape of ``schema``."""
    whole = {**schema, "components": description()["components"]}
    errors = [
        f"{error.json_path}: {error.message}" for error in Draft202012Validator(whole).iter_errors(value)
    ]
    assert not errors, errors


class FakeAirflow:
    """Runs, tasks, questions, XComs and logs as a test sets them; ``change`` is called before every look at a run."""

    def __init__(self) -> None:
        self.runs: dict[tuple[str, str], dict[str, Any]] = {}
        self.tasks: list[dict[str, Any]] = []
        self.questions: list[dict[str, Any]] = []
        self.xcoms: dict[tuple[str, str, str], Any] = {}
        self.log_lines: dict[tuple[str, str], list[Any]] = {}
        self.page = 100
        self.tokens = {"token-1"}
        self.signed_in = 0
        self.calls: list[tuple[str, str]] = []
        self.failures: list[int | Exception] = []
        self.change: Callable[[], None] = lambda: None

    @property
    def transport(self) -> httpx.MockTransport:
        """What a client talks to."""
        return httpx.MockTransport(self._answer)

    def run(self, dag_id: str, run_id: str, state: str = "running", **conf: Any) -> dict[str, Any]:
        """Add a run."""
        body = {
            "dag_run_id": run_id, "dag_id": dag_id, "dag_display_name": dag_id, "logical_date": None,
            "queued_at": "2026-11-27T01:00:00Z", "start_date": "2026-11-27T01:00:01Z",
            "end_date": "2026-11-27T01:01:01Z" if state in ("success", "failed") else None, "duration": None,
            "data_interval_start": None, "data_interval_end": None, "run_after": "2026-11-27T01:00:00Z",
            "last_scheduling_decision": None, "run_type": "manual", "state": state, "triggered_by": "rest_api",
            "triggering_user_name": "alice", "conf": conf, "note": None, "dag_versions": [], "bundle_version": None,
            "partition_key": None, "partition_date": None,
        }  # fmt: skip
        self.runs[dag_id, run_id] = body
        return body

    def task(
        self, dag_id: str, run_id: str, task_id: str, state: str | None, *, index: int = -1, **more: Any
    ) -> dict[str, Any]:
        """Add a task instance."""
        body = {
            "id": "00000000-0000-0000-0000-000000000001", "task_id": task_id, "dag_id": dag_id,
            "dag_run_id": run_id, "map_index": index, "logical_date": None, "run_after": "2026-11-27T01:00:00Z",
            "start_date": "2026-11-27T01:00:02Z", "end_date": None, "duration": 2.5, "state": state,
            "try_number": 1, "max_tries": 2, "task_display_name": task_id, "dag_display_name": dag_id,
            "hostname": None, "unixname": None, "pool": "default_pool", "pool_slots": 1, "queue": None,
            "priority_weight": 1, "operator": None, "operator_name": None, "queued_when": None,
            "scheduled_when": None, "pid": None, "executor": None, "executor_config": "{}", "note": None,
            "rendered_map_index": None, "trigger": None, "triggerer_job": None, "dag_version": None, **more,
        }  # fmt: skip
        self.tasks.append(body)
        return body

    def question(self, task: Mapping[str, Any], subject: str, **params: Any) -> dict[str, Any]:
        """Let a task ask something."""
        body = {
            "task_instance": task, "subject": subject, "body": f"What {subject} means", "params": params,
            "options": ["Approve", "Reject"], "created_at": "2026-11-27T01:00:00Z", "response_received": False,
            "responded_by_user": None, "chosen_options": None, "params_input": {}, "assigned_users": [],
        }  # fmt: skip
        self.questions.append(body)
        return body

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path, method = request.url.path, request.method
        self.calls.append((method, path))
        if self.failures:
            failure = self.failures.pop(0)
            if isinstance(failure, Exception):
                raise failure
            return httpx.Response(failure, text="away")
        if path == "/auth/token":
            given = json.loads(request.content)
            self.signed_in += 1
            ok = given["password"] == PASSWORD
            self.tokens = {f"token-{self.signed_in}"} if ok else self.tokens
            return httpx.Response(201 if ok else 401, json={"access_token": f"token-{self.signed_in}"})
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            return httpx.Response(401, json={"detail": "Not authenticated"})
        known = operation(method, path)
        query = {name: values[0] for name, values in parse_qs(request.url.query.decode()).items()}
        names = {item["name"] for item in known.get("parameters", ()) if item["in"] == "query"}
        assert set(query) <= names, f"{method} {path} knows no {set(query) - names}"
        body = json.loads(request.content) if request.content else None
        if body is not None:
            check(known["requestBody"]["content"]["application/json"]["schema"], body)
        code, answer = self._route(method, [unquote(part) for part in path.split("/")[3:]], query, body)
        if code == 200:
            check(known["responses"]["200"]["content"]["application/json"]["schema"], answer)
        return httpx.Response(code, json=answer)

    def _route(self, method: str, parts: list[str], query: Mapping[str, str], body: Any) -> tuple[int, Any]:
        match (method, parts):
            case ("POST", ["dags", dag_id, "dagRuns"]):
                if (dag_id, body["dag_run_id"]) in self.runs:
                    return 409, {"detail": "there already"}
                return 200, self.run(dag_id, body["dag_run_id"], "queued", **body["conf"])
            case ("PATCH", ["dags", dag_id, "dagRuns", run_id]):
                self.runs[dag_id, run_id] |= body
                return 200, self.runs[dag_id, run_id]
            case ("GET", ["dags", dag_id, "dagRuns", run_id]):
                self.change()
                found = self.runs.get((dag_id, run_id))
                return (200, found) if found else (404, {"detail": "no such run"})
            case ("GET", ["dags", dag_id, "dagRuns"]):
                runs = [run for run in self.runs.values() if _under(run, dag_id, query)]
                return self._page("dag_runs", runs, query)
            case ("GET", ["dags", _, "dagRuns", _, "taskInstances"]):
                prefix = query.get("run_id_prefix_pattern", "")
                tasks = [task for task in self.tasks if task["dag_run_id"].startswith(prefix)]
                return self._page("task_instances", tasks, query)
            case ("GET", ["dags", dag_id, "dagRuns", run_id, "hitlDetails"]):
                wanted = query.get("response_received") == "true"
                questions = [
                    item
                    for item in self.questions
                    if item["response_received"] == wanted
                    and dag_id in ("~", item["task_instance"]["dag_id"])
                    and run_id in ("~", item["task_instance"]["dag_run_id"])
                ]
                return self._page("hitl_details", questions, query)
            case (_, ["dags", _, "dagRuns", run_id, "taskInstances", task_id, index, "hitlDetails"]):
                return self._question(method, (run_id, task_id, int(index)), body)
            case ("GET", ["dags", dag_id, "dagRuns", run_id, "taskInstances", task_id, "xcomEntries", key]):
                if (run_id, task_id, key) not in self.xcoms:
                    return 404, {"detail": "no such XCom"}
                return 200, _xcom(dag_id, run_id, task_id, key, self.xcoms[run_id, task_id, key])
            case ("GET", ["dags", _, "dagRuns", run_id, "taskInstances", task_id, "logs", _]):
                lines = self.log_lines.get((run_id, task_id), [])
                start = int(query.get("token") or 0)
                running = (
                    next(task for task in self.tasks if task["task_id"] == task_id)["state"] == "running"
                )
                return 200, {
                    "content": lines[start:],
                    "continuation_token": str(len(lines)) if running else None,
                }
        raise AssertionError(f"the fake has no {method} {parts}")

    def _question(self, method: str, place: tuple[str, str, int], body: Any) -> tuple[int, Any]:
        for item in self.questions:
            task = item["task_instance"]
            if (task["dag_run_id"], task["task_id"], task["map_index"]) == place:
                if method == "GET":
                    return 200, item
                if item["response_received"]:
                    return 409, {"detail": "answered already"}
                item |= {**body, "response_received": True, "responded_by_user": {"id": "bob", "name": "bob"}}
                answered = {
                    "responded_by": {"id": "bob", "name": "bob"},
                    "responded_at": "2026-11-27T01:00:00Z",
                }
                return 200, {**body, **answered}
        return 404, {"detail": "no such question"}

    def _page(self, name: str, items: list[Any], query: Mapping[str, str]) -> tuple[int, Any]:
        offset, limit = int(query.get("offset", 0)), min(int(query.get("limit", 50)), self.page)
        return 200, {name: items[offset : offset + limit], "total_entries": len(items)}


def _under(run: Mapping[str, Any], dag_id: str, query: Mapping[str, str]) -> bool:
    return (
        dag_id in ("~", run["dag_id"])
        and run["dag_run_id"].startswith(query.get("run_id_prefix_pattern", ""))
        and run["dag_id"].startswith(query.get("dag_id_prefix_pattern", ""))
    )


def _xcom(dag_id: str, run_id: str, task_id: str, key: str, value: Any) -> dict[str, Any]:
    return {
        "key": key, "timestamp": "2026-11-27T01:00:00Z", "logical_date": None, "map_index": -1, "task_id": task_id,
        "dag_id": dag_id, "run_id": run_id, "dag_display_name": dag_id, "task_display_name": task_id,
        "run_after": "2026-11-27T01:00:00Z", "value": value,
    }  # fmt: skip
