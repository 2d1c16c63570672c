"""A Redis for the Celery of the local Airflow, reached through a Unix socket in a folder that is its user's alone."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from triplane.core.errors import TriplaneError
from triplane.sandbox.processes import tail

START_SECONDS = 30.0
STOP_SECONDS = 10.0


class RedisError(TriplaneError):
    """Redis is not installed, or did not start."""


class Redis:
    """One server; what is in it does not outlive it.

    :param log: the file that its output is added to
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        self.folder = Path(tempfile.mkdtemp(prefix="triplane-redis-"))
        self.socket = self.folder / "redis.sock"
        self._server: subprocess.Popen[bytes] | None = None

    def url(self, database: int) -> str:
        """For Celery's broker and results."""
        return f"redis+socket://{self.socket}?virtual_host={database}"

    def start(self) -> None:
        """Start it and wait until it answers. :raises RedisError: it does not"""
        program = shutil.which("redis-server")
        if program is None:
            raise RedisError(
                "redis-server is not installed: run `make setup`, or apt-get install redis-server"
            )
        options = ("--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700", "--save", "")
        with self.log.open("ab") as log:
            self._server = subprocess.Popen(
                [program, *options, "--appendonly", "no"],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        end = time.monotonic() + START_SECONDS
        while not self.socket.exists():
            if self._server.poll() is not None or time.monotonic() > end:
                self.stop()
                raise RedisError(f"Redis does not answer; the end of {self.log}:\n{tail(self.log)}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it and delete its folder."""
        if self._server is not None:
            self._server.terminate()
            try:
                self._server.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
            self._server = None
        shutil.rmtree(self.folder, ignore_errors=True)
