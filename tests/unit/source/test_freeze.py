"""What a revision freezes to."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from triplane.core.errors import InputError
from triplane.core.git import WORKING_TREE
from triplane.source.freeze import freeze


def git(folder: Path, *args: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.com", *args]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def names(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}  # type: ignore[union-attr]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repo" / "platform"
    folder.mkdir(parents=True)
    (folder / "platform.yaml").write_text("version: 1\n")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (tmp_path / "repo" / "other").write_text("not part of the platform")
    git(tmp_path / "repo", "init", "-q")
    git(tmp_path / "repo", "add", "-A")
    git(tmp_path / "repo", "commit", "-qm", "one")
    return folder


def test_a_commit_is_frozen_without_what_is_not_committed(repository: Path) -> None:
    first = freeze(repository, "HEAD")
    assert first.revision == git(repository, "rev-parse", "HEAD")
    assert set(names(first.archive)) == {"platform.yaml", "run.sh"}
    (repository / "platform.yaml").write_text("changed\n")
    (repository / "new").write_text("")
    assert freeze(repository, "HEAD").archive == first.archive


def test_another_commit_of_the_same_content_is_the_same_archive(repository: Path) -> None:
    first = freeze(repository, "HEAD")
    git(repository, "commit", "-q", "--allow-empty", "-m", "two")
    second = freeze(repository, "HEAD")
    assert second.revision != first.revision
    assert second.archive == first.archive
    assert freeze(repository, "HEAD~1").revision == first.revision


def test_unknown_and_hostile_revisions_are_refused(repository: Path) -> None:
    for revision in ("nope", "--output=/tmp/x", "HEAD; rm -rf /"):
        with pytest.raises(InputError, match="git rev-parse"):
            freeze(repository, revision)


def test_a_link_that_leads_out_is_refused(repository: Path) -> None:
    (repository / "link").symlink_to("../../../etc/passwd")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "link")
    with pytest.raises(InputError, match=r"'link' would link to .* remove that link"):
        freeze(repository, "HEAD")


def test_a_folder_outside_git_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "platform.yaml").write_text("x")
    assert freeze(tmp_path, "HEAD").revision == WORKING_TREE
    with pytest.raises(InputError, match="not in a git repository"):
        freeze(tmp_path, "main")


def test_a_checkout_without_git_is_the_commit_that_the_run_is_pinned_to(tmp_path: Path) -> None:
    (tmp_path / "platform.yaml").write_text("version: 1\n")
    pinned = "a" * 40
    assert freeze(tmp_path, "HEAD", pinned).revision == pinned
    assert freeze(tmp_path, pinned, pinned).archive == freeze(tmp_path, "HEAD").archive
    with pytest.raises(
        InputError, match=f"pinned to commit {pinned} .* deploy HEAD, or set `prune_dotgit_folder`"
    ):
        freeze(tmp_path, "main", pinned)


def test_a_checkout_with_git_has_all_revisions(repository: Path) -> None:
    pinned = freeze(repository, "HEAD").revision
    (repository / "uncommitted").write_text("x")
    assert freeze(repository, "HEAD", pinned) == freeze(repository, "HEAD")
    assert freeze(repository, git(repository, "branch", "--show-current"), pinned).revision == pinned
