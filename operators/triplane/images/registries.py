"""Reads and writes images in registries, with skopeo."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from triplane.core.digest import digest
from triplane.core.errors import ToolError, TransientError
from triplane.core.process import Command, run, tool_env, write_private
from triplane.images.reference import Reference

_ABSENT = re.compile(r"manifest unknown|name unknown|not found|NAME_UNKNOWN|MANIFEST_UNKNOWN", re.I)
_TRANSIENT = re.compile(
    r"timeout|timed out|connection (?:refused|reset)|unexpected EOF|TLS handshake|no such host|"
    r"too ?many ?requests|status(?: code)?:? (?:429|5\d\d)|received unexpected HTTP status: 5\d\d|"
    r"Bad Gateway|Service Unavailable|Gateway Time-?out",
    re.I,
)


def is_transient(error: ToolError) -> bool:
    """Whether a tool failed for a reason that may pass: network, throttling, a registry that is down."""
    return bool(_TRANSIENT.search(error.stderr))


class Registry:
    """One registry as one user. ``auth_file`` comes from :func:`write_auth`, None for no login."""

    def __init__(self, auth_file: Path | None, *, timeout: float = 600.0) -> None:
        self.auth_file = auth_file
        self.timeout = timeout

    def digest(self, reference: Reference) -> str | None:
        """The manifest digest that the registry serves, counted from the bytes; None if there is none."""
        try:
            done = run(self._command(inspect_args(reference, self.auth_file)), timeout=60)
        except ToolError as error:
            if _ABSENT.search(error.stderr):
                return None
            raise
        return digest(done.stdout.encode())

    def push(self, layout: Path, reference: Reference, log: Callable[[str], None]) -> None:
        """Copy the image of an OCI layout, byte for byte, and read back that it is there.

        Blobs that the registry holds already are not sent again.
        """
        arguments = push_args(layout, reference, self.auth_file)
        run(self._command(arguments), on_line=log, timeout=self.timeout)
        expected = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
        found = self.digest(reference)
        if found != expected:
            raise TransientError(
                f"{reference} is {found} after the push, not {expected}; somebody else pushed"
            )

    def _command(self, arguments: tuple[str, ...]) -> Command:
        return Command(argv=arguments, env=tool_env(), grace=10)


def write_auth(path: Path, registry: str, username: str, password: str) -> Path:
    """Write a login as containers' auth file, readable by this user only."""
    token = base64.b64encode(f"{username}:{password}".encode()).decode()
    return write_private(path, json.dumps({"auths": {registry: {"auth": token}}}))


def inspect_args(reference: Reference, auth_file: Path | None) -> tuple[str, ...]:
    """Prints the manifest as the registry serves it."""
    auth = ("--authfile", str(auth_file)) if auth_file else ("--no-creds",)
    return ("skopeo", "inspect", "--raw", *auth, f"docker://{reference}")


def push_args(layout: Path, reference: Reference, auth_file: Path | None) -> tuple[str, ...]:
    """Copies an OCI layout and fails rather than change a byte of the manifest."""
    auth = ("--authfile", str(auth_file)) if auth_file else ("--dest-no-creds",)
    return (
        *("skopeo", "copy", "--all", "--preserve-digests", "--retry-times", "2", *auth),
        *(f"oci:{layout}", f"docker://{reference}"),
    )


def ensure_ecr_repository(client: Any, repository: str, log: Callable[[str], None]) -> None:
    """Create the repository in ECR, which does not do so by itself. ``client`` is boto3's of ``ecr``."""
    try:
        client.describe_repositories(repositoryNames=[repository])
    except client.exceptions.RepositoryNotFoundException:
        try:
            client.create_repository(repositoryName=repository)
            log(f"created the ECR repository {repository}")
        except client.exceptions.RepositoryAlreadyExistsException:
            pass  # another task was faster
