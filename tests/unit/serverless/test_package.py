from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest

from triplane.core.errors import InputError
from triplane.serverless.package import build, ignored


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


FILES = {"app.py": "print()", "lib/b.py": "b", "lib/a.py": "a"}


def test_same_content_same_bytes(tmp_path: Path) -> None:
    one = write(tmp_path / "one", FILES)
    two = write(tmp_path / "two", dict(reversed(FILES.items())))
    os.utime(two / "app.py", (1, 1))
    (two / "lib/a.py").chmod(0o600)
    assert build(one).data == build(two).data
    assert build(one).names == ("app.py", "lib/a.py", "lib/b.py")


def test_content_and_executable_bit_count(tmp_path: Path) -> None:
    root = write(tmp_path, FILES)
    before = build(root).digest
    (root / "app.py").chmod(0o755)
    executable = build(root).digest
    (root / "app.py").write_text("print(1)")
    assert len({before, executable, build(root).digest}) == 3


def test_the_archive_is_a_zip_that_keeps_modes(tmp_path: Path) -> None:
    root = write(tmp_path, {"run": "#!/bin/sh"})
    (root / "run").chmod(0o700)
    with zipfile.ZipFile(io.BytesIO(build(root).data)) as archive:
        assert archive.testzip() is None
        assert archive.getinfo("run").external_attr >> 16 == 0o100755


def test_deployignore(tmp_path: Path) -> None:
    ignore = "# tests stay here\ntests/\n*.md\ndata/*.csv\n"
    extra = {"tests/t.py": "", "README.md": "", "data/x.csv": "", "data/x.txt": "", "__pycache__/m.pyc": ""}
    root = write(tmp_path, {**FILES, **extra, ".deployignore": ignore})
    assert build(root).names == ("app.py", "data/x.txt", "lib/a.py", "lib/b.py")


@pytest.mark.parametrize(
    ("name", "is_dir", "pattern", "expected"),
    [
        ("a/tests", True, "tests/", True),
        ("tests", False, "tests/", False),
        ("a/b.md", False, "*.md", True),
        ("a/b.md", False, "b/*.md", False),
        ("a/b.md", False, "/a/*.md", True),
    ],
)
def test_ignored(name: str, is_dir: bool, pattern: str, expected: bool) -> None:
    assert ignored(name, is_dir, (pattern,)) is expected


def test_what_cannot_be_packaged(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a directory"):
        build(tmp_path / "missing")
    with pytest.raises(InputError, match="nothing to package"):
        build(write(tmp_path / "empty", {".deployignore": ""}))
    root = write(tmp_path / "links", FILES)
    (root / "link").symlink_to("app.py")
    with pytest.raises(InputError, match="a link"):
        build(root)
