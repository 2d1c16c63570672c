"""A repository somewhere else, read by git over HTTPS or SSH without a secret in an argument, an URL or a file."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from triplane.core.errors import InputError, ToolError, TransientError
from triplane.core.git import git, is_commit
from triplane.core.private import private_dir, write_private
from triplane.core.process import Command, run, tool_env
from triplane.source.freeze import Frozen, freeze_commit
from triplane.source.revisions import chosen, listed, refs

SECONDS = 600.0
"""For one call of git."""
ASKPASS = """\
#!/bin/sh
case "$1" in
  Username*) printf '%s\\n' "$TRIPLANE_GIT_USER" ;;
  *) printf '%s\\n' "$TRIPLANE_GIT_PASSWORD" ;;
esac
"""
WITH_AGENT = ("ssh-agent", "sh", "-c", 'trap "kill $SSH_AGENT_PID" EXIT; ssh-add -q - && "$@"', "sh")
"""Runs git beside an agent that has the key of standard input, and that ends with it."""
SETTINGS = {
    # A server that sends us on would get what the user and password of this one are.
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "60",
    "protocol.version": "2",
}
REFUSALS = (
    (
        r"Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED|No \S+ host key is known",
        "it did not show the host key of the connection: if the forge has a new one, take it from where the forge publishes "
        "its keys; if not, somebody else answers there",
    ),
    (r"Error loading key|invalid format|error in libcrypto|passphrase", "the connection's private key cannot be read"),
    (r"Permission denied", "it does not accept the deploy key: add it to the repository, or renew it"),
    (
        r"Authentication failed|could not read (Username|Password)|Access denied|returned error: 401",
        "it does not accept the token: renew the token in the connection",
    ),
    (r"returned error: 403", "the token may not read it: give it the permission to read the repository's contents"),
    (
        r"(?i)repository .*not found|could not be found|does not appear to be a git repository|returned error: 404",
        "correct the repository, or let the token or key see it",
    ),
    (r"returned error: 30\d|unable to update url base from redirection", "it has moved: correct the repository or the url"),
    (r"not our ref|unadvertised object", "it has no such commit: push it first, and give all its digits"),
)  # fmt: skip
"""What git says, and what to do about it: a retry does not help. All else may pass."""


@dataclass(frozen=True, kw_only=True)
class Token:
    """Who reads over HTTPS. ``token`` gives one that is valid now."""

    user: str
    token: Callable[[], str] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class DeployKey:
    """Who reads over SSH: a private key, and the key that the host has to show as lines of ``known_hosts``."""

    private_key: str = field(repr=False)
    known_hosts: str


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A repository of ``kind`` (``github`` or ``gitlab``) at ``url``, of which the folder ``path`` is wanted."""

    kind: str
    url: str
    access: Token | DeployKey
    path: str = "."
    redact: Callable[[str], str] = str

    def commit(self, revision: str) -> str:
        """The commit that ``revision`` is now; its full id is taken as it is.

        :raises InputError: there is no such revision, or the forge refuses us
        :raises TransientError: the forge cannot be reached, or asks for a pause
        """
        if is_commit(revision):
            return revision
        with private_dir() as scratch:
            names = refs(self.kind, revision)
            # What an annotated tag is of is listed only where it is asked for.
            asked = [each for name in names for each in (name, f"{name}^{{}}")]
            return chosen(self.kind, revision, listed(self._git(scratch, "ls-remote", self.url, *asked)))

    def freeze(self, revision: str) -> Frozen:
        """The content of the folder at the commit that ``revision`` is now. Errors as :meth:`commit`."""
        wanted = self.commit(revision)
        with self._fetched(wanted) as (repository, env):
            # A tag may be asked for by its own id.
            asked = ("rev-parse", "--verify", "--end-of-options", f"{wanted}^{{commit}}")
            found = git(repository, *asked, env=env).strip()
            return freeze_commit(repository, found, "" if self.path == "." else self.path, env)

    @contextmanager
    def _fetched(self, commit: str) -> Iterator[tuple[Path, dict[str, str]]]:
        """A bare repository with this commit and nothing before it, and the environment for git there."""
        with private_dir() as scratch:
            repository, env = scratch / "repository", _env(scratch)
            git(scratch, "init", "--quiet", "--bare", str(repository), env=env)
            self._git(
                scratch, "-C", str(repository), "fetch", "--quiet", "--depth=1", "--no-tags", self.url, commit
            )
            yield repository, env

    def _git(self, scratch: Path, *args: str) -> str:
        command = self._command(scratch, args)
        try:
            return run(command, redact=self.redact, timeout=SECONDS).stdout
        except ToolError as error:
            raise explained(self.url, error) from error

    def _command(self, scratch: Path, args: tuple[str, ...]) -> Command:
        argv = ("git", *args)
        match self.access:
            case Token(user=user, token=token):
                askpass = write_private(scratch / "askpass", ASKPASS)
                askpass.chmod(0o700)
                env = {
                    "GIT_ASKPASS": str(askpass),
                    "TRIPLANE_GIT_USER": user,
                    "TRIPLANE_GIT_PASSWORD": token(),
                }
                return Command(argv=argv, env=_env(scratch) | env)
            case DeployKey(private_key=key, known_hosts=hosts):
                known = write_private(scratch / "known_hosts", hosts)
                env = {"GIT_SSH_COMMAND": ssh_command(known), "GIT_SSH_VARIANT": "ssh"}
                stdin = key.strip().encode() + b"\n"
                return Command(argv=(*WITH_AGENT, *argv), env=_env(scratch) | env, stdin=stdin, name="git")


def ssh_command(known: Path) -> str:
    """The ``ssh`` of git: it takes the agent's key alone, and checks the host's."""
    options = (
        *("BatchMode=yes", "StrictHostKeyChecking=yes", f"UserKnownHostsFile={known}", "UpdateHostKeys=no"),
        *("GlobalKnownHostsFile=/dev/null", "IdentityFile=none", "ConnectTimeout=20"),
    )
    return " ".join(("ssh", "-F", "/dev/null", *(f"-o {option}" for option in options)))


def explained(url: str, error: ToolError) -> InputError | TransientError:
    """What git's failure means, and whether a retry may help."""
    said = " ".join(error.stderr.split()) or str(error)
    for pattern, advice in REFUSALS:
        if re.search(pattern, said):
            return InputError(f"{url}: {advice} (git said: {said})")
    return TransientError(f"{url} could not be read: {said}")


def _env(scratch: Path) -> dict[str, str]:
    """Git without the worker's own settings, filters, hooks and logins, which ``HOME`` would lead to."""
    written = {"GIT_CONFIG_COUNT": str(len(SETTINGS))}
    for number, (key, value) in enumerate(SETTINGS.items()):
        written |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    trusted = os.environ.get("GIT_SSL_CAINFO") or os.environ.get("SSL_CERT_FILE")
    return tool_env() | {
        **written,
        **({"GIT_SSL_CAINFO": trusted} if trusted else {}),
        "HOME": str(scratch),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "http:https:ssh",
    }
