"""Reads and writes images in registries, with skopeo."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from triplane.core.digest import digest
from triplane.core.errors import InputError, ToolError, TransientError
from triplane.core.jobs import Job
from triplane.core.process import Command, Completed, left_over, run, tool_env
from triplane.images.login import Login
from triplane.images.reference import Reference

_ABSENT = re.compile(
    r"(?:manifest|name)[ _]unknown|\b404\b.*\bnot found|"
    r"\b(?:manifest|image|repository|artifact|tag)\b(?:(?!: ).)*\bnot found",
    re.I,
)
_NO_REPOSITORY = re.compile(r"name unknown|NAME_UNKNOWN|repository .*(?:does not exist|not found)", re.I)
_DENIED = re.compile(
    r"unauthorized|authentication required|retrieve auth token|denied|status(?: code)?:? 40[13]|expired", re.I
)
_TRANSIENT = re.compile(
    r"timeout|timed out|connection (?:refused|reset)|unexpected EOF|TLS handshake|no such host|"
    r"too ?many ?requests|status(?: code)?:? (?:429|5\d\d)|received unexpected HTTP status: 5\d\d|"
    r"Bad Gateway|Service Unavailable|Gateway Time-?out|network is unreachable|proxyconnect",
    re.I,
)

Log = Callable[[str], None]


def is_transient(error: ToolError) -> bool:
    """Whether a tool failed for a reason that may pass: network, throttling, a registry that is down."""
    return bool(_TRANSIENT.search(error.stderr))


def is_absent(error: ToolError) -> bool:
    """Whether a registry answered that it has no such image; a credential helper that is not found is none."""
    return bool(_ABSENT.search(error.stderr))


class Registry:
    """Registries as one user: ``login`` is one that is renewed, or an auth file; None is nobody.

    With ``worker`` they are read with the logins that this worker has itself.
    """

    def __init__(self, login: Login | Path | None, *, timeout: float = 600.0, worker: bool = False) -> None:
        self._login = login if isinstance(login, Login) else None
        self._auth_file = login.path if isinstance(login, Login) else login
        self._worker = worker
        self.timeout = timeout

    def manifest(self, reference: Reference) -> bytes | None:
        """The manifest as the registry serves it, None if there is none."""
        try:
            done = self._run(inspect_args(reference, self._auth()), timeout=60)
        except ToolError as error:
            if is_absent(error):
                return None
            raise
        return done.stdout.encode()

    def digest(self, reference: Reference) -> str | None:
        """The manifest digest that the registry serves, counted from the bytes; None if there is none."""
        found = self.manifest(reference)
        return None if found is None else digest(found)

    def push(self, layout: Path, tagged: Reference, log: Log, job: Job | None = None) -> None:
        """Copy the image of an OCI layout, byte for byte, and read back that it is there.

        It goes there by its digest, and gets its tag when all of it is there. Blobs that the registry holds
        already are not sent again. As ``job`` a push that a killed task left is waited for.
        """
        expected = layout_digest(layout)
        pinned = tagged.at(expected)
        if self.digest(pinned) != expected:
            if job is None or not left_over(job, on_line=log):
                self._copy(push_args(layout, pinned, self._auth()), pinned, log, job)
            if job:
                job.forget()
            self._expect(pinned, expected)
        self._copy(push_args(layout, tagged, self._auth()), tagged, log)
        self._expect(tagged, expected)

    def push_untagged(self, layout: Path, pinned: Reference, log: Log) -> None:
        """Copy the artifact of an OCI layout, and read back that it is there."""
        self._copy(push_args(layout, pinned, self._auth()), pinned, log)
        self._expect(pinned, layout_digest(layout))

    def fetch(self, pinned: Reference, layout: Path, log: Log) -> None:
        """Copy an image of this registry, byte for byte, into an OCI layout."""
        self._copy(fetch_args(pinned, layout, self._auth()), pinned, log)

    def auth_file(self) -> Path | None:
        """The file with our login, renewed where it gets old; None where we are nobody."""
        if self._login:
            self._login.keep_fresh()
        return self._auth_file

    def _auth(self) -> tuple[str, ...] | None:
        if self._worker:
            return ()
        return ("--authfile", str(self._auth_file)) if self._auth_file else None

    def _expect(self, reference: Reference, expected: str) -> None:
        if (found := self.digest(reference)) != expected:
            raise TransientError(
                f"{reference} is {found} after the push, not {expected}; somebody else pushed"
            )

    def _copy(self, arguments: tuple[str, ...], to: Reference, log: Log, job: Job | None = None) -> None:
        try:
            self._run(arguments, on_line=log, timeout=self.timeout, job=job)
        except ToolError as error:
            if not _NO_REPOSITORY.search(error.stderr):
                raise
            raise InputError(
                f"{to.registry} has no repository {to.repository}: create it, or have it created "
                "(`repositories: {create: true}` in the platform spec)"
            ) from error

    def _run(
        self,
        arguments: tuple[str, ...],
        *,
        timeout: float,
        on_line: Log | None = None,
        job: Job | None = None,
    ) -> Completed:
        """Run skopeo; where a login has expired meanwhile, once more with a new one."""
        command = Command(argv=arguments, env=tool_env("REGISTRY_AUTH_FILE"), grace=10)
        while True:
            if self._login:
                self._login.keep_fresh()
            try:
                return run(command, on_line=on_line, timeout=timeout, job=job)
            except ToolError as error:
                denied = self._login and _DENIED.search(error.stderr)
                if not denied or not self._login or not self._login.renewed():
                    raise
                if on_line:
                    on_line("the login has expired; going on with a new one")


def layout_digest(layout: Path) -> str:
    """The manifest digest of the one image in an OCI layout."""
    manifests = json.loads((layout / "index.json").read_text())["manifests"]
    if len(manifests) != 1:
        raise InputError(f"{layout}: expected one image, found {len(manifests)}")
    return str(manifests[0]["digest"])


def inspect_args(reference: Reference, auth: tuple[str, ...] | None) -> tuple[str, ...]:
    """Prints the manifest as the registry serves it. ``auth`` is None for nobody, () for the worker's own logins."""
    logins = ("--no-creds",) if auth is None else auth
    return ("skopeo", "inspect", "--raw", *logins, f"docker://{reference}")


def push_args(layout: Path, to: Reference, auth: tuple[str, ...] | None) -> tuple[str, ...]:
    """Copies an OCI layout and fails rather than change a byte of the manifest."""
    logins = ("--dest-no-creds",) if auth is None else auth
    return (*_COPY, *logins, f"oci:{layout}", f"docker://{to}")


def fetch_args(pinned: Reference, layout: Path, auth: tuple[str, ...] | None) -> tuple[str, ...]:
    """Copies an image into an OCI layout and fails rather than change a byte of the manifest."""
    logins = ("--src-no-creds",) if auth is None else auth
    return (*_COPY, *logins, f"docker://{pinned}", f"oci:{layout}")


_COPY = ("skopeo", "copy", "--all", "--preserve-digests", "--retry-times", "2")
