"""Files that are whole or not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from airflow.sdk import ObjectStoragePath

from triplane.core import files
from triplane.core.ledger import Ledger

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
