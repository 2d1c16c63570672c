"""A PostgreSQL for the local Airflow. SQLite has one writer at a time, for which a busy Airflow waits a minute and fails.

It is reached through a Unix socket in a folder that only its user, and root, may enter. Nothing outlives it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from triplane.core.errors import TriplaneError
from triplane.sandbox.processes import tail

DEBIAN = Path("/usr/lib/postgresql")
ACCOUNT = "postgres"
USER = "airflow"
START_SECONDS = 60.0
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    # The tasks of a scheduler that was killed hold its connections open, and with them its locks.
    "idle_in_transaction_session_timeout": "30s",
    # What is in it need not survive the machine.
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "jit": "off",
}


class PostgresError(TriplaneError):
    """PostgreSQL is not installed, or did not start."""


class Postgres:
    """One database server with a folder of its own.

    :param log: the file that its output is added to
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        self.folder = Path(tempfile.mkdtemp(prefix="triplane-pg-"))
        self._who: dict[str, Any] = {}
        if os.geteuid() == 0:  # as which it refuses to run
            account = pwd.getpwnam(ACCOUNT)
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            self._who = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}

    @property
    def uri(self) -> str:
        """For SQLAlchemy."""
        return f"postgresql+psycopg2://{USER}@/postgres?host={self.folder}"

    def start(self) -> subprocess.Popen[bytes]:
        """Start it as the leader of a new process group and wait until it answers; it ends when the group is told to.

        :raises PostgresError: it does not
        """
        data = str(self.folder / "data")
        made = self._run("initdb", "-D", data, "-U", USER, "--auth=trust", "--no-sync", "--locale=C.UTF-8")
        if made.wait():
            raise self._failed("cannot make a database")
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        server = self._run("postgres", "-D", data, "-k", str(self.folder), *settings, process_group=0)
        end = time.monotonic() + START_SECONDS
        while self._run("pg_isready", "-q", "-h", str(self.folder)).wait():
            if server.poll() is not None or time.monotonic() > end:
                server.kill()
                raise self._failed("does not answer")
            time.sleep(0.1)
        return server

    def remove(self) -> None:
        """Delete its data, once it has ended."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [find(program), *arguments],
                cwd=self.folder,
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                **self._who,
                **options,
            )

    def _failed(self, what: str) -> PostgresError:
        said = tail(self.log)
        self.remove()
        return PostgresError(f"PostgreSQL {what}; the end of {self.log}:\n{said}")


def find(program: str) -> str:
    """Its path: Debian keeps each version's programs in a folder of their own.

    :raises PostgresError: it is not installed
    """
    folders = sorted(DEBIAN.glob("*/bin"), key=lambda path: [int(part) for part in path.parts[-2].split(".")])
    found = shutil.which(program, path=os.pathsep.join([*map(str, reversed(folders)), os.environ["PATH"]]))
    if found is None:
        raise PostgresError(f"{program} is not installed: run `make setup`, or apt-get install postgresql")
    return found
