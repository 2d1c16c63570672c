from __future__ import annotations

import os
from pathlib import Path

import pytest

from triplane.core.errors import InputError
from triplane.images.context import build_key, is_ignored, stage


@pytest.fixture
def context(tmp_path: Path) -> Path:
    root = tmp_path / "context"
    (root / "src").mkdir(parents=True)
    (root / "Dockerfile").write_text("FROM scratch\nCOPY src /src\n")
    (root / "src/app").write_text("#!/bin/sh\n")
    (root / "src/app").chmod(0o755)
    (root / "notes.md").write_text("notes")
    return root


def key(context: Path, target: Path, **args: str) -> str:
    stage(context, "Dockerfile", target)
    return build_key(target, "Dockerfile", args)


@pytest.mark.parametrize(
    ("name", "patterns", "ignored"),
    [
        ("a.md", ["*.md"], True),
        ("docs/a.md", ["*.md"], False),
        ("docs/a.md", ["**/*.md"], True),
        ("a.md", ["**/*.md"], True),
        ("docs/a.md", ["docs"], True),
        ("docs/a.md", ["docs/"], True),
        ("docs/a.md", ["/docs"], True),
        ("docs/a.md", ["./docs"], True),
        ("docs2/a.md", ["docs"], False),
        ("a/b/c", ["a/*/c"], True),
        ("a/b/b/c", ["a/*/c"], False),
        ("a/b/b/c", ["a/**/c"], True),
        ("a/c", ["a/**/c"], True),
        ("abc", ["a?c"], True),
        ("abc", ["a[a-c]c"], True),
        ("adc", ["a[!a-c]c"], True),
        ("a+c", ["a+c"], True),
        ("keep.md", ["*.md", "!keep.md"], False),
        ("keep.md", ["!keep.md", "*.md"], True),
        ("docs/keep", ["docs", "!docs/keep"], False),
        ("anything/at/all", ["**"], True),
    ],
)
def test_dockerignore(name: str, patterns: list[str], ignored: bool) -> None:
    assert is_ignored(name, patterns) is ignored


def test_only_what_counts_is_staged(context: Path, tmp_path: Path) -> None:
    (context / ".dockerignore").write_text("# comment\n*.md\nDockerfile\n")
    stage(context, "Dockerfile", tmp_path / "staged")
    names = {p.relative_to(tmp_path / "staged").as_posix() for p in (tmp_path / "staged").rglob("*")}
    assert names == {"Dockerfile", "src", "src/app"}
    assert {int(p.stat().st_mtime) for p in (tmp_path / "staged").rglob("*")} == {0}


def test_times_modes_and_ignored_files_do_not_change_the_key(context: Path, tmp_path: Path) -> None:
    (context / ".dockerignore").write_text("*.md\n")
    first = key(context, tmp_path / "1")
    os.utime(context / "src/app", (1, 1))
    (context / "src/app").chmod(0o700)
    (context / "notes.md").write_text("others")
    assert key(context, tmp_path / "2") == first


@pytest.mark.parametrize("change", ["content", "mode", "name", "dockerfile", "argument", "link"])
def test_everything_else_does(change: str, context: Path, tmp_path: Path) -> None:
    first = key(context, tmp_path / "1")
    app = context / "src/app"
    args: dict[str, str] = {}
    if change == "content":
        app.write_text("#!/bin/bash\n")
    elif change == "mode":
        app.chmod(0o644)
    elif change == "name":
        app.rename(context / "src/other")
    elif change == "dockerfile":
        (context / "Dockerfile").write_text("FROM scratch\nCOPY src /bin\n")
    elif change == "argument":
        args = {"VERSION": "1"}
    else:
        (context / "src/link").symlink_to("app")
    assert key(context, tmp_path / "2", **args) != first


def test_links_stay_links_and_stay_inside(context: Path, tmp_path: Path) -> None:
    (context / "src/link").symlink_to("app")
    stage(context, "Dockerfile", tmp_path / "1")
    assert (tmp_path / "1/src/link").is_symlink()
    (context / "src/out").symlink_to("/etc/passwd")
    with pytest.raises(InputError, match="leads out of the build context"):
        stage(context, "Dockerfile", tmp_path / "2")


def test_what_is_missing_is_named(context: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such Dockerfile"):
        stage(context, "Containerfile", tmp_path / "1")
    with pytest.raises(InputError, match="not a directory"):
        stage(context / "none", "Dockerfile", tmp_path / "2")
