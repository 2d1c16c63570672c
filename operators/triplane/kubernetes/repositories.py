"""Charts pulled from chart repositories and OCI registries, with logins that no command line shows."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from triplane.core.errors import InputError, ToolError, TransientError
from triplane.core.process import Command, private_dir, run, tool_env, write_private

SCHEMES = ("https://", "http://", "oci://")
_TRANSIENT = re.compile(
    r"(?i)time(?:d )?out|connection (?:refused|reset)|no such host|unexpected EOF|too ?many ?requests|\b(?:429|5\d\d)\b"
)
_NOISE = re.compile(r"Hang tight|Update Complete|Happy Helming|no cached repo found")


@dataclass(frozen=True)
class Login:
    """How to speak to one host. ``plain`` is without TLS, for registries; without a user nobody logs in."""

    username: str = ""
    password: str = ""
    plain: bool = False


@dataclass(frozen=True)
class Repositories:
    """Pulls charts. ``login`` is asked for each host."""

    binary: str
    login: Callable[[str], Login | None]
    redact: Callable[[str], str] | None = None

    def pull(self, repository: str, name: str, version: str, into: Path) -> Path:
        """Put the chart's unpacked folder at ``into``; ``version`` may be a range, empty for the newest.

        :raises InputError: there is no such chart, or the login is refused
        :raises TransientError: the repository does not answer
        """
        if not repository.startswith(SCHEMES):
            raise InputError(
                f"{name} has the repository {repository or 'none'}; write https://…, oci://… or file://…, "
                "or put the chart into charts/"
            )
        host = urlsplit(repository).netloc
        login = self.login(host) or Login()
        said: list[str] = []
        with private_dir() as home:
            try:
                folder = self._pull(repository.rstrip("/"), host, name, version, login, home, said)
            except ToolError as error:
                reason = " ".join(line.strip() for line in said if not _NOISE.search(line))
                message = f"chart {name} {version} cannot be pulled from {repository}: {reason}"
                if _TRANSIENT.search(reason):
                    raise TransientError(message) from error
                raise InputError(f"{message}; check name, version and login") from error
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(folder, into)
        return into

    def _pull(
        self, url: str, host: str, name: str, version: str, login: Login, home: Path, said: list[str]
    ) -> Path:
        plain = ("--plain-http",) if login.plain and url.startswith("oci://") else ()
        if url.startswith("oci://"):
            chart = f"{url}/{name}"
            token = base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
            auths = {"auths": {host: {"auth": token}}} if login.username else {}
            write_private(home / "registry.json", json.dumps(auths))
        else:
            chart = f"repository/{name}"
            known = {"name": "repository", "url": url, "username": login.username, "password": login.password}
            write_private(home / "repositories.yaml", json.dumps({"repositories": [known]}))
            self._helm(home, said, "repo", "update", "repository")
        which = ("--version", version) if version else ()
        self._helm(home, said, "pull", chart, *which, *plain, "--untar", "--untardir", str(home / "chart"))
        return next(path.parent for path in (home / "chart").glob("*/Chart.yaml"))

    def _helm(self, home: Path, said: list[str], *args: str) -> None:
        env = tool_env(
            HELM_CACHE_HOME=str(home / "cache"),
            HELM_CONFIG_HOME=str(home),
            HELM_DATA_HOME=str(home / "data"),
            HELM_REPOSITORY_CONFIG=str(home / "repositories.yaml"),
            HELM_REPOSITORY_CACHE=str(home / "cache"),
            HELM_REGISTRY_CONFIG=str(home / "registry.json"),
        )
        run(Command(argv=(self.binary, *args), env=env), on_line=said.append, redact=self.redact, timeout=300)
