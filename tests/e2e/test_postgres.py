"""The local Airflow's database: a real server."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psycopg2
import pytest

from triplane.sandbox.postgres import Postgres, PostgresError, find


def test_it_serves_ends_with_its_group_and_leaves_nothing(tmp_path: Path) -> None:
    postgres = Postgres(tmp_path / "postgres.log")
    server = postgres.start()
    try:
        connection = psycopg2.connect(host=str(postgres.folder), user="airflow", dbname="postgres")
        with connection, connection.cursor() as cursor:
            cursor.execute("select inet_server_addr(), current_setting('listen_addresses')")
            assert cursor.fetchone() == (None, "")
        connection.close()
        assert postgres.folder.stat().st_mode & 0o077 == 0
        assert os.getpgid(server.pid) == server.pid
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        assert server.wait(20) == 0
        postgres.remove()
    assert not postgres.folder.exists()


def test_what_it_says_when_it_cannot_start_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triplane.sandbox.postgres.SETTINGS", {"no_such_setting": "1"})
    postgres = Postgres(tmp_path / "postgres.log")
    with pytest.raises(PostgresError, match=r'unrecognized configuration parameter "no_such_setting"'):
        postgres.start()
    assert not postgres.folder.exists()


def test_a_program_that_is_missing_is_named() -> None:
    with pytest.raises(PostgresError, match="no_such_program is not installed: run `make setup`"):
        find("no_such_program")
