"""What was read once is not read again, unless it, or what reads it, is another one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.unit.spec.test_bad_specs import GOOD

from triplane.spec import cache, load
from triplane.spec.load import SpecError


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    folder = tmp_path / "specs"
    folder.mkdir()
    monkeypatch.setattr(cache, "user_dir", lambda name: folder)
    found: list[Path] = []
    read = load._read

    def counted(path: Path, files: bool) -> Any:
        found.append(path)
        return read(path, files)

    monkeypatch.setattr(load, "_read", counted)
    return found


def test_the_same_text_is_read_once(
    reads: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "platform.yaml"
    path.write_text(GOOD)
    first = load.load(path, files=False)
    assert load.load(path, files=False) == first
    assert len(reads) == 1
    path.write_text(GOOD.replace("eu-west-1", "eu-west-2"))
    assert load.load(path, files=False).cloud("aws").region == "eu-west-2"  # type: ignore[union-attr]
    assert len(reads) == 2
    monkeypatch.setattr(cache, "__version__", "0.0.0")
    load.load(path, files=False)
    assert len(reads) == 3


def test_files_are_looked_at_each_time(reads: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "platform.yaml"
    path.write_text(GOOD)
    load.load(path, files=False)
    with pytest.raises(SpecError, match="does not exist"):
        load.load(path)


def test_what_is_wrong_is_not_remembered(reads: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "platform.yaml"
    path.write_text(GOOD.replace("region", "regoin"))
    for _ in range(2):
        with pytest.raises(SpecError, match="regoin"):
            load.load(path, files=False)
    assert len(reads) == 2


@pytest.mark.parametrize("broken", [b"", b"no pickle", b"\x80\x04K\x01."])
def test_a_broken_memory_is_read_anew(reads: list[Path], tmp_path: Path, broken: bytes) -> None:
    path = tmp_path / "platform.yaml"
    path.write_text(GOOD)
    first = load.load(path, files=False)
    (kept,) = (tmp_path / "specs").iterdir()
    kept.write_bytes(broken)
    assert load.load(path, files=False) == first
    assert len(reads) == 2


def test_old_ones_go(reads: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "platform.yaml"
    path.write_text(GOOD)
    load.load(path, files=False)
    (old,) = (tmp_path / "specs").iterdir()
    os.utime(old, (1, 1))
    path.write_text(GOOD + "\n")
    load.load(path, files=False)
    assert not old.exists()
    assert len(list((tmp_path / "specs").iterdir())) == 1


def test_a_folder_that_cannot_be_used(
    reads: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "user_dir", lambda name: tmp_path / "missing")
    path = tmp_path / "platform.yaml"
    path.write_text(GOOD)
    assert load.load(path, files=False) == load.load(path, files=False)
