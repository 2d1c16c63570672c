"""What `make bench` measures runs; how long it takes is not looked at here."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts import bench_terraform


def test_the_bench_of_drift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in bench_terraform.environ(tmp_path).items():
        monkeypatch.setenv(name, value)
    ours, theirs = bench_terraform.drift(tmp_path, 1)
    assert ours > 0
    assert theirs > 0
