"""An Airflow of one's own on this machine (PostgreSQL, LocalExecutor), and a client for its REST API."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from cryptography.fernet import Fernet

from triplane.core.asked import ASKS, SETTLE_SECONDS
from triplane.core.errors import TriplaneError
from triplane.sandbox.postgres import Postgres
from triplane.sandbox.processes import tail

USERS = {"admin": "admin", "alice": "op", "bob": "op", "carol": "op", "olga": "op", "vera": "viewer"}
START_SECONDS = 240.0
STOP_SECONDS = 20.0
# As `airflow standalone`, but for the servers of log files: those would listen on every network interface.
PARTS = (
    ("api-server",),
    ("scheduler", "--skip-serve-logs"),
    ("dag-processor",),
    ("triggerer", "--skip-serve-logs"),
)
NAMES = tuple(words[0] for words in PARTS)
ENDED = ("success", "failed")
SHARED = """\
\"\"\"What tasks import, once: the processes that parse DAG files and run tasks are forked from those that read this.\"\"\"

import airflow.providers.amazon.aws.hooks.base_aws
import airflow.providers.google.common.hooks.base_google
import airflow.providers.microsoft.azure.hooks.base_azure
import boto3
import triplane.factories.cloud
import triplane.factories.drift
import triplane.factories.parent
"""
NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"
"""Not passed on: without bytecode every task would compile Airflow again."""


class AirflowError(TriplaneError):
    """Airflow did not start, or answered a request with an error."""


class LocalAirflow:
    """An Airflow with its own home, users and keys, on a port of 127.0.0.1.

    :param home: AIRFLOW_HOME, created if missing
    :param dags: the folder with the DAG files
    :param platform: the platform spec that the DAGs are built from
    :param environ: added to this process's environment, the sandbox's for example
    :param port: the port of UI and API
    :param parts: what is started of it, by default all
    """

    def __init__(
        self,
        home: Path,
        *,
        dags: Path,
        platform: Path,
        environ: Mapping[str, str],
        port: int,
        parts: Sequence[str] = NAMES,
    ) -> None:
        self.home = home
        self._parts = [part for part in PARTS if part[0] in parts]
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.log = home / "airflow.log"
        self._passwords = home / "passwords.json"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._group = 0
        home.mkdir(parents=True, mode=0o700, exist_ok=True)
        self.database = Postgres(home / "postgres.log")
        self.environ = self._environ(dags, platform) | dict(environ) | self._keys()
        self.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), self.environ["PATH"]])

    def start(self) -> None:
        """Start it and wait until the API answers and every DAG is parsed once."""
        if not self._passwords.exists():
            self._passwords.write_text(json.dumps({user: secrets.token_hex(12) for user in USERS}))
            self._passwords.chmod(0o600)
        (self.home / "config").mkdir(exist_ok=True)
        (self.home / "config" / "airflow_local_settings.py").write_text(SHARED)
        self._processes["postgres"] = self.database.start()
        self._group = self._processes["postgres"].pid
        if self._run("db", "migrate").wait():
            raise AirflowError(f"Airflow has no database; the end of {self.log}:\n{tail(self.log)}")
        for part in self._parts:
            self._processes[part[0]] = self._run(*part, group=self._group)
        self._wait_until(self._healthy, "get ready")

    def kill(self, part: str) -> None:
        """SIGKILL the main process of ``api-server``, ``scheduler``, ``dag-processor`` or ``triggerer``, and start it
        again, as what watches over it in production would. The tasks that it has started are left alone."""
        self._processes[part].kill()
        self._processes[part].wait()
        command = next(words for words in PARTS if words[0] == part)
        self._processes[part] = self._run(*command, group=self._group)
        self._wait_until(self._healthy, "get ready again")

    def _run(self, *args: str, group: int = 0) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [str(Path(sys.executable).with_name("airflow")), *args],
                env=self.environ,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=group,
            )

    def stop(self) -> None:
        """Stop the whole process group; SIGKILL what is left after 20 seconds. Its database is deleted."""
        if self._group:
            for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, 5.0)):
                _signal_group(self._group, number)
                end = time.monotonic() + seconds
                while time.monotonic() < end and self._alive():
                    time.sleep(0.1)
        self._processes, self._group = {}, 0
        self.database.remove()

    @property
    def pid(self) -> int | None:
        """The process group, None if it is not running."""
        return self._group or None

    def _alive(self) -> bool:
        """Whether anything is left of the process group."""
        for process in self._processes.values():
            process.poll()
        try:
            os.killpg(self._group, 0)
        except ProcessLookupError:
            return False
        return True

    def api(self, user: str = "admin") -> AirflowApi:
        """A client that is signed in as ``user``."""
        return AirflowApi(self.url, user, self.password(user))

    def password(self, user: str) -> str:
        """The generated password of a user of :data:`USERS`."""
        return str(json.loads(self._passwords.read_text())[user])

    def wait_for_dags(self, *dag_ids: str) -> None:
        """Wait until these DAGs are parsed. :raises AirflowError: a DAG file cannot be imported"""
        api = self.api()

        def parsed() -> bool:
            if errors := api.get("/importErrors")["import_errors"]:
                raise AirflowError("\n".join(f"{e['filename']}: {e['stack_trace']}" for e in errors))
            return set(dag_ids) <= api.dags()

        self._wait_until(parsed, f"parse {', '.join(dag_ids)}")

    def _environ(self, dags: Path, platform: Path) -> dict[str, str]:
        settings = {
            "CORE__DAGS_FOLDER": str(dags),
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__PARALLELISM": "8",
            "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{u}:{role}" for u, role in USERS.items()),
            "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self._passwords),
            "DATABASE__SQL_ALCHEMY_CONN": self.database.uri,
            "API__PORT": str(self.port),
            "API__HOST": "127.0.0.1",
            "API__BASE_URL": self.url,
            "API__WORKERS": "1",
            "LOGGING__BASE_LOG_FOLDER": str(self.home / "logs"),
            "WORKERS__EXECUTION_API_TIMEOUT": "60",
            "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
            "DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "30",
            "DAG_PROCESSOR__PARSING_PROCESSES": "1",
            "TRIPLANE__PLATFORM": str(platform),
        }
        quiet = {"AIRFLOW_HOME": str(self.home), "PYTHONWARNINGS": "ignore", "PYTHONUNBUFFERED": "1"}
        inherited = {name: value for name, value in os.environ.items() if name != NO_BYTECODE}
        return inherited | quiet | {f"AIRFLOW__{name}": value for name, value in settings.items()}

    def _keys(self) -> dict[str, str]:
        """Keys that survive a restart of this home."""
        path = self.home / "keys.json"
        if not path.exists():
            keys = {
                "AIRFLOW__CORE__FERNET_KEY": Fernet.generate_key().decode(),
                "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
                "AIRFLOW__TRIPLANE__ARTIFACT_KEY": Fernet.generate_key().decode(),
                "AIRFLOW__TRIPLANE__SIGNING_KEY": secrets.token_hex(32),
            }
            path.touch(mode=0o600)
            path.write_text(json.dumps(keys))
        return dict(json.loads(path.read_text()))

    def _healthy(self) -> bool:
        try:
            health = httpx.get(f"{self.url}/api/v2/monitor/health", trust_env=False, timeout=5).json()
        except (httpx.HTTPError, ValueError):
            return False
        names = [
            "metadatabase",
            *(part[0].replace("-", "_") for part in self._parts if part[0] != "api-server"),
        ]
        if any((health.get(name) or {}).get("status") != "healthy" for name in names):
            return False
        # The API of the tasks is built when it is asked first; the server answers nobody meanwhile.
        asked = httpx.get(f"{self.url}/execution/health", trust_env=False, timeout=START_SECONDS)
        return asked.is_success

    def _wait_until(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + START_SECONDS
        while not condition():
            ended = any(process.poll() is not None for process in self._processes.values())
            if ended or time.monotonic() > end:
                said = tail(self.log)
                self.stop()
                raise AirflowError(f"Airflow did not {what}; the end of {self.log}:\n{said}")
            time.sleep(0.3)


class AirflowApi:
    """Airflow's public REST API as one signed-in user."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self._client = httpx.Client(base_url=url, trust_env=False, timeout=60)
        answer = self._client.post("/auth/token", json={"username": user, "password": password})
        if answer.status_code != 201:
            raise AirflowError(f"{user} cannot sign in: {answer.status_code}")
        self._client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Any call, with the path after ``/api/v2``; the answer as it comes."""
        return self._client.request(method, f"/api/v2{path}", **options)

    def get(self, path: str, **params: Any) -> Any:
        """The JSON that a GET answers. :raises AirflowError: it answers an error"""
        return self._json(self.request("GET", path, params=params))

    def dags(self) -> set[str]:
        """The ids of all DAGs that are parsed."""
        return {dag["dag_id"] for dag in self.get("/dags", limit=100)["dags"]}

    def parse_again(self, *dag_ids: str, timeout: float = 120) -> None:
        """Have DAG files read anew, because what they read has changed, and wait until they are."""
        before = {dag_id: self.get(f"/dags/{dag_id}") for dag_id in dag_ids}
        for known in before.values():
            answer = self.request("PUT", f"/parseDagFile/{known['file_token']}")
            if answer.status_code not in (201, 409):  # it may have been asked for already
                raise AirflowError(f"PUT parseDagFile: {answer.status_code} {answer.text[:300]}")
        end = time.monotonic() + timeout
        while any(
            self.get(f"/dags/{name}")["last_parsed_time"] == known["last_parsed_time"]
            for name, known in before.items()
        ):
            if time.monotonic() > end:
                raise AirflowError(f"{', '.join(dag_ids)}: not parsed again within {timeout:g} s")
            time.sleep(0.5)

    def trigger(self, dag_id: str, conf: Mapping[str, Any], run_id: str | None = None) -> str:
        """Start a run and return its id, as CI would."""
        body: dict[str, Any] = {"logical_date": None, "conf": dict(conf)}
        if run_id:
            body["dag_run_id"] = run_id
        return str(self._json(self.request("POST", f"/dags/{dag_id}/dagRuns", json=body))["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """``queued``, ``running``, ``success`` or ``failed``."""
        return str(self.get(f"/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The run's task instances."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        return list(self.get(path, limit=200)["task_instances"])

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """The value of an XCom, None if there is none."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        answer = self.request("GET", path, params={"deserialize": True})
        return None if answer.status_code == 404 else self._json(answer)["value"]

    def questions(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """What this run waits for people to answer."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/hitlDetails"
        return list(self.get(path, response_received=False)["hitl_details"])

    def answer(
        self, question: Mapping[str, Any], option: str, params: Mapping[str, Any] | None = None
    ) -> httpx.Response:
        """Answer a question with one of its options; by default with the values its form shows, and a reason."""
        task = question["task_instance"]
        shown = {name: _default(param) for name, param in (question.get("params") or {}).items()}
        if "reason" in shown:
            shown["reason"] = shown["reason"] or "as planned"
        return self.request(
            "PATCH",
            f"/dags/{task['dag_id']}/dagRuns/{task['dag_run_id']}/taskInstances/{task['task_id']}"
            f"/{task['map_index']}/hitlDetails",
            json={"chosen_options": [option], "params_input": dict(shown if params is None else params)},
        )

    def set_variable(self, key: str, value: str) -> None:
        """Create or change an Airflow Variable."""
        answer = self.request("POST", "/variables", json={"key": key, "value": value})
        if answer.status_code == 409:
            answer = self.request("PATCH", f"/variables/{key}", json={"key": key, "value": value})
        self._json(answer)

    def logs(self, dag_id: str, run_id: str, task_id: str, attempt: int = 1, map_index: int = -1) -> str:
        """The log of one try of a task, as text."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{attempt}"
        answer = self._json(self.request("GET", path, params={"map_index": map_index, "full_content": True}))
        return "\n".join(_log_lines(answer.get("content") or []))

    def wait(self, dag_id: str, run_id: str, timeout: float = 600, poll: float = 1.0) -> str:
        """Wait for the run to end and return its state. :raises AirflowError: it does not in time"""
        end = time.monotonic() + timeout
        while (state := self.run_state(dag_id, run_id)) not in ENDED:
            if time.monotonic() > end:
                raise AirflowError(f"{dag_id} {run_id} is still {state} after {timeout:g} s")
            time.sleep(poll)
        return state

    def wait_for_question(self, dag_id: str, run_id: str, timeout: float = 600) -> list[dict[str, Any]]:
        """Wait until the run asks something that can be answered, see :data:`triplane.core.asked.SETTLE_SECONDS`.

        :raises AirflowError: it ends, or asks nothing in time
        """
        end = time.monotonic() + timeout
        while not (found := _parked(self.questions(dag_id, run_id))):
            state = self.run_state(dag_id, run_id)
            if state in ENDED or time.monotonic() > end:
                raise AirflowError(f"{dag_id} {run_id} is {state} and asks nothing")
            time.sleep(0.5)
        time.sleep(SETTLE_SECONDS)
        return found

    def _json(self, answer: httpx.Response) -> Any:
        if answer.is_error:
            raise AirflowError(
                f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text[:500]}"
            )
        return answer.json()


def _parked(questions: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of tasks that no worker runs any more."""
    return [question for question in questions if question["task_instance"]["state"] == ASKS]


def task_process(instance_id: str) -> int | None:
    """The process that runs a task instance on this machine, by the instance's ``id``; None if none does."""
    title = f"airflow worker -- {instance_id}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if (process / "cmdline").read_bytes().startswith(title):
                return int(process.name)
    return None


def _default(param: Any) -> Any:
    return param.get("value") if isinstance(param, Mapping) else param


def _log_lines(content: Any) -> Iterator[str]:
    for item in content if isinstance(content, list) else [content]:
        yield json.dumps(item) if isinstance(item, Mapping) else str(item)


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        pass
