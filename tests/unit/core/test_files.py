"""Files that are whole or not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import ObjectStoragePath
from upath import UPath

from triplane.core import files
from triplane.core.ledger import Ledger, scopes

APPEND = """
import sys
from pathlib import Path
from triplane.core.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]), "staging/aws")
while True:
    ledger.append("note", {"text": "x" * 100000})
    print("appended", flush=True)
"""


@pytest.mark.parametrize("kind", [Path, lambda path: ObjectStoragePath(f"file://{path}")])
def test_a_new_file_and_a_replaced_one(tmp_path: Path, kind: object) -> None:
    path = kind(tmp_path / "file")  # type: ignore[operator]
    files.create(path, b"one")
    with pytest.raises(FileExistsError):
        files.create(path, b"two")
    assert path.read_bytes() == b"one"
    files.replace(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["file"]


def test_a_client_that_is_refused_for_what_it_wrote_itself(tmp_path: Path) -> None:
    path = UPath(f"memory:/{tmp_path}/asked-again")
    files.create(path, b"ours")
    files.create(path, b"ours")
    with pytest.raises(FileExistsError):
        files.create(path, b"theirs")
    assert files.read(path) == b"ours"


KINDS = {
    "path": Path,
    "file": lambda path: ObjectStoragePath(f"file://{path}"),
    "object store": lambda path: UPath(f"memory:/{path}"),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_what_is_in_a_folder(tmp_path: Path, kind: Any) -> None:
    folder = kind(tmp_path / "folder")
    assert files.children(folder) == []
    assert files.read(folder / "b") is None
    assert not files.exists(folder / "b")
    files.create(folder / "b", b"1")
    files.replace(folder / "deep" / "a", b"2")
    files.replace(folder / ".hidden", b"3")
    assert files.exists(folder / "b")
    assert [path.name for path in files.children(folder)] == ["b", "deep"]
    assert files.read(folder / "b") == b"1"
    assert files.read_all([folder / "b", folder / "deep" / "a"]) == [b"1", b"2"]
    assert files.read_all([]) == []
    with pytest.raises(FileNotFoundError):
        files.read_all([folder / "b", folder / "c"])


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_ledger_anywhere(tmp_path: Path, kind: Any) -> None:
    root = kind(tmp_path)
    ledger = Ledger(root, "staging/aws")
    assert ledger.entries() == []
    assert scopes(root) == []
    assert [ledger.append("note", {"n": n}).number for n in range(3)] == [0, 1, 2]
    assert [entry.body["n"] for entry in Ledger(root, "staging/aws").entries()] == [0, 1, 2]
    assert ledger.problems(ledger.head()) == []
    assert scopes(root) == ["staging/aws"]


@pytest.mark.parametrize("attempt", range(5))
def test_a_ledger_survives_the_kill_of_whoever_writes(tmp_path: Path, attempt: int) -> None:
    writer = subprocess.Popen([sys.executable, "-c", APPEND, str(tmp_path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    for _ in range(2 + attempt):
        writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    ledger = Ledger(tmp_path, "staging/aws")
    before = len(ledger.entries())
    ledger.append("note", {})
    assert len(ledger.entries()) == before + 1 >= 3
