"""How git is called for a repository elsewhere, and what its failures mean."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from triplane.core.errors import InputError, ToolError, TransientError
from triplane.source.forges import web_url
from triplane.source.freeze import freeze_commit
from triplane.source.remote import DeployKey, Remote, Token, _env, explained

URL = "https://github.com/acme/shop.git"
TOKEN = "ghp_Pl4ntedT0ken"


@pytest.mark.parametrize(
    ("said", "kind", "advice"),
    [
        ("fatal: Authentication failed for 'https://github.com/acme/shop.git/'", InputError, "renew the token"),
        ("remote: HTTP Basic: Access denied.", InputError, "renew the token"),
        ("remote: Repository not found.\nfatal: repository 'https://x/' not found", InputError, "let the token"),
        ("ERROR: Repository not found.\nfatal: Could not read from remote", InputError, "correct the repository"),
        ("ERROR: The project you were looking for could not be found", InputError, "correct the repository"),
        ("The requested URL returned error: 403", InputError, "permission to read"),
        ("git@github.com: Permission denied (publickey).", InputError, "add it to the repository"),
        ("Host key verification failed.", InputError, "somebody else answers there"),
        ("Error loading key \"(stdin)\": error in libcrypto", InputError, "private key cannot be read"),
        ("fatal: remote error: upload-pack: not our ref aaaa", InputError, "no such commit"),
        ("unable to update url base from redirection", InputError, "it has moved"),
        ("The requested URL returned error: 429", TransientError, "429"),
        ("The requested URL returned error: 503", TransientError, "503"),
        ("Could not resolve host: github.com", TransientError, "resolve"),
        ("fatal: early EOF", TransientError, "early EOF"),
    ],
)  # fmt: skip
def test_what_git_says_tells_whether_a_retry_helps(said: str, kind: type[Exception], advice: str) -> None:
    found = explained(URL, ToolError(("git", "fetch"), 128, said))
    assert type(found) is kind
    assert str(found).startswith(URL)
    assert advice in str(found)


def test_secrets_are_neither_arguments_nor_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    https = Remote(kind="github", url=URL, access=Token(user="x-access-token", token=lambda: TOKEN))
    command = https._command(tmp_path, ("ls-remote", URL, "HEAD"))
    assert command.argv == ("git", "ls-remote", URL, "HEAD")
    assert command.env["TRIPLANE_GIT_PASSWORD"] == TOKEN
    assert command.env["HOME"] == str(tmp_path), "no .netrc and no .ssh of the worker's user"

    key = DeployKey(private_key="-----BEGIN Pl4ntedKey", known_hosts="github.com ssh-ed25519 AAAA\n")
    over_ssh = Remote(kind="github", url="ssh://git@github.com:22/acme/shop.git", access=key)
    command = over_ssh._command(tmp_path, ("ls-remote", URL, "HEAD"))
    assert command.argv[:3] == ("ssh-agent", "sh", "-c")
    assert command.stdin == b"-----BEGIN Pl4ntedKey\n"
    assert "StrictHostKeyChecking=yes" in command.env["GIT_SSH_COMMAND"]
    written = "".join(path.read_text() for path in tmp_path.iterdir())
    for text in (written, repr(https), repr(over_ssh), *command.argv, *command.env.values()):
        assert "Pl4nted" not in text


def test_a_repository_calls_no_filter_of_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``git lfs install`` sets one up, which would fetch what the repository names with the worker's logins."""
    (tmp_path / ".gitconfig").write_text('[filter "worker"]\n\tsmudge = "echo smudged"\n')
    repository, scratch = tmp_path / "repository", tmp_path / "scratch"
    for folder in (repository, scratch):
        folder.mkdir()
    (repository / "note").write_text("as it was committed")

    def git(*args: str) -> str:
        command = ["git", "-C", str(repository), "-c", "user.name=t", "-c", "user.email=t@example.com", *args]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    (repository / ".gitattributes").write_text("note filter=worker\n")
    git("add", "-A")
    git("commit", "--quiet", "-m", "one")
    monkeypatch.setenv("HOME", str(tmp_path))
    commit = git("rev-parse", "HEAD")
    found = {env is None: freeze_commit(repository, commit, env=env) for env in (None, _env(scratch))}
    texts = {}
    for of_worker, frozen in found.items():
        with tarfile.open(fileobj=io.BytesIO(frozen.archive)) as tar:
            texts[of_worker] = tar.extractfile("note").read().decode()  # type: ignore[union-attr]
    assert texts == {True: "smudged\n", False: "as it was committed"}


@pytest.mark.parametrize(
    ("kind", "api", "url"),
    [
        ("github", "https://api.github.com", "https://github.com"),
        ("github", "https://api.acme.ghe.com/", "https://acme.ghe.com"),
        ("github", "https://github.example.com/api/v3/", "https://github.example.com"),
        ("gitlab", "https://gitlab.com/api/v4", "https://gitlab.com"),
        ("gitlab", "https://example.com/gitlab/api/v4", "https://example.com/gitlab"),
    ],
)
def test_repositories_are_beside_the_api(kind: str, api: str, url: str) -> None:
    assert web_url(kind, api) == url
