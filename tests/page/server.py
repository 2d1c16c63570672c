"""Airflow's UI and API alone, with a world to show: nothing runs in it."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.page.world import write_spec
from triplane.sandbox.airflow import LocalAirflow

ROOT = Path(__file__).parents[2]


@contextmanager
def serving(home: Path, components: int, rollouts: int) -> Iterator[LocalAirflow]:
    """An API server with a platform of so many components, which was rolled out so often."""
    spec = write_spec(home / "platform", components)
    dags = home / "dags"
    dags.mkdir()
    airflow = LocalAirflow(
        home / "airflow",
        dags=dags,
        platform=spec,
        environ={
            "AIRFLOW__CORE__AUTH_MANAGER": "tests.page.auth.PerDag",
            "AIRFLOW__TRIPLANE__ARTIFACT_STORE": f"file://{home}/store",
            "PYTHONPATH": str(ROOT),
        },
        port=_free_port(),
        parts=["api-server"],
    )
    try:
        airflow.start()
        fill = [sys.executable, "-m", "tests.page.world", str(spec), "--rollouts", str(rollouts)]
        done = subprocess.run(fill, env=airflow.environ, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        yield airflow
    finally:
        airflow.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
