"""A local Airflow with Celery workers that are as far from each other as machines are."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from triplane.sandbox.airflow import LocalAirflow
from triplane.sandbox.redis import Redis

LOST_SECONDS = 20
"""After this long without a heartbeat a task is taken for dead. Airflow's own default is five minutes."""
PRIVATE = 'mount -t tmpfs -o mode=1777 tmpfs /dev/shm && exec "$0" "$@"'
"""Each worker gets a /dev/shm of its own."""
CONTROL = ("AIRFLOW__DATABASE__", "AIRFLOW__CORE__FERNET_KEY", "AIRFLOW__API_AUTH__")
"""What a worker of a real installation has no business with: it does not get these."""


class DistributedAirflow(LocalAirflow):
    """Airflow with the Celery executor and DAGs from git.

    Its workers share the repository, the API server, the broker and the artifact store. Each has folders, a home,
    temporary files and shared memory of its own, and neither Airflow's database nor the keys of its API server.

    :param home: AIRFLOW_HOME of all that is no worker
    :param repository: a git repository with the DAG files in ``dags``
    :param store: URL of the artifact store
    :param environ: added to this process's environment
    :param port: the port of UI and API
    :param workers: how many
    """

    def __init__(
        self,
        home: Path,
        *,
        repository: Path,
        store: str,
        environ: Mapping[str, str],
        port: int,
        workers: int = 3,
    ) -> None:
        self.redis = Redis(home / "redis.log")
        super().__init__(
            home, dags=home / "no-dags", platform=Path("platform.yaml"), environ=environ, port=port
        )
        self.environ |= {
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CELERY__BROKER_URL": self.redis.url(0),
            "AIRFLOW__CELERY__RESULT_BACKEND": self.redis.url(1),
            "AIRFLOW__CELERY__WORKER_CONCURRENCY": "4",
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([_bundle(repository)]),
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(LOST_SECONDS),
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(home / "bundles"),
            "AIRFLOW__TRIPLANE__ARTIFACT_STORE": store,
        }
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        self._names = [f"worker{number}" for number in range(1, workers + 1)]

    def start(self) -> None:
        """Start all of it; the workers take tasks as soon as they are ready."""
        self.redis.start()
        super().start()
        for name in self._names:
            self._workers[name] = self._work(name)

    def kill_worker(self, name: str) -> None:
        """SIGKILL a worker with its tasks, and leave it dead. Tools that outlive tasks are in sessions of their own."""
        worker = self._workers.pop(name)
        session = os.getsid(worker.pid)
        for process in (worker.pid, *_descendants(worker.pid)):
            with suppress(ProcessLookupError):
                if os.getsid(process) == session:
                    os.kill(process, signal.SIGKILL)
        worker.wait()

    def worker_of(self, process: int) -> str:
        """The name of the worker that a process on this machine belongs to."""
        return next(name for name, worker in self._workers.items() if process in _descendants(worker.pid))

    def worker_log(self, name: str) -> Path:
        """What a worker has said."""
        return self.home / f"{name}.log"

    def task_logs(self) -> Iterator[tuple[str, Path]]:
        """The log of every try of a task, with the worker that has it."""
        for name in self._names:
            for path in sorted((self.home / name / "logs").rglob("attempt=*.log")):
                yield name, path

    def stop(self) -> None:
        """Stop all of it."""
        for worker in self._workers.values():
            os.killpg(worker.pid, signal.SIGTERM)
        for worker in self._workers.values():
            try:
                worker.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(worker.pid, signal.SIGKILL)
                worker.wait()
        self._workers = {}
        super().stop()
        self.redis.stop()

    def _work(self, name: str) -> subprocess.Popen[bytes]:
        home = self.home / name
        for folder in (home, home / "tmp"):
            folder.mkdir(mode=0o700, exist_ok=True)
        shared = {key: value for key, value in self.environ.items() if not key.startswith(CONTROL)}
        own = {
            "AIRFLOW_HOME": str(home),
            "HOME": str(home),
            "TMPDIR": str(home / "tmp"),
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(home / "bundles"),
        }
        airflow = str(Path(sys.executable).with_name("airflow"))
        celery = (airflow, "celery", "worker", "--celery-hostname", f"{name}@%h", "--skip-serve-logs")
        namespace = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--user", "--map-root-user")))
        with self.worker_log(name).open("ab") as log:
            return subprocess.Popen(
                [*namespace, "sh", "-c", PRIVATE, *celery],
                env=shared | own,
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )


def _descendants(process: int) -> list[int]:
    """The processes that one has started, and those that these have."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = list(children.get(process, ()))
    for each in found:
        found += children.get(each, ())
    return found


def _bundle(repository: Path) -> dict[str, Any]:
    return {
        "name": "platform",
        "classpath": "airflow.providers.git.bundles.git.GitDagBundle",
        "kwargs": {
            "repo_url": str(repository),
            "tracking_ref": "main",
            "subdir": "dags",
            "refresh_interval": 5,
        },
    }
