from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from triplane.core.errors import ToolError
from triplane.images.reference import Reference
from triplane.images.registries import (
    ensure_ecr_repository,
    inspect_args,
    is_transient,
    push_args,
    write_auth,
)

REFERENCE = Reference.parse("x.io/a:t")


def test_arguments() -> None:
    auth = Path("/s/auth.json")
    assert inspect_args(REFERENCE, auth) == (
        *("skopeo", "inspect", "--raw", "--authfile", "/s/auth.json", "docker://x.io/a:t"),
    )
    assert inspect_args(REFERENCE, None)[3] == "--no-creds"
    assert push_args(Path("/l"), REFERENCE, auth) == (
        *("skopeo", "copy", "--all", "--preserve-digests", "--retry-times", "2"),
        *("--authfile", "/s/auth.json", "oci:/l", "docker://x.io/a:t"),
    )
    assert "--dest-no-creds" in push_args(Path("/l"), REFERENCE, None)


def test_the_login_is_in_a_private_file(tmp_path: Path) -> None:
    path = write_auth(tmp_path / "auth.json", "x.io", "me", "pass:word")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    auth = json.loads(path.read_text())["auths"]["x.io"]["auth"]
    assert base64.b64decode(auth) == b"me:pass:word"


@pytest.mark.parametrize(
    ("stderr", "transient"),
    [
        ("dial tcp 10.0.0.1:443: connect: connection refused", True),
        ("received unexpected HTTP status: 503 Service Unavailable", True),
        ("toomanyrequests: You have reached your pull rate limit", True),
        ("net/http: TLS handshake timeout", True),
        ("unauthorized: authentication required", False),
        ('building at STEP "RUN false": exit status 1', False),
        ("manifest unknown: manifest unknown", False),
    ],
)
def test_what_may_pass(stderr: str, transient: bool) -> None:
    assert is_transient(ToolError(("skopeo", "copy"), 1, stderr)) is transient


class FakeEcr:
    class exceptions:
        class RepositoryNotFoundException(Exception):
            pass

        class RepositoryAlreadyExistsException(Exception):
            pass

    def __init__(self, there: bool, race: bool = False) -> None:
        self.there, self.race, self.created = there, race, []  # type: ignore[var-annotated]

    def describe_repositories(self, **kwargs: Any) -> None:
        if not self.there:
            raise self.exceptions.RepositoryNotFoundException

    def create_repository(self, repositoryName: str) -> None:
        if self.race:
            raise self.exceptions.RepositoryAlreadyExistsException
        self.created.append(repositoryName)


@pytest.mark.parametrize(
    ("there", "race", "created"), [(True, False, []), (False, False, ["r"]), (False, True, [])]
)
def test_a_missing_ecr_repository_is_created(there: bool, race: bool, created: list[str]) -> None:
    client = FakeEcr(there, race)
    ensure_ecr_repository(client, "r", lambda line: None)
    assert client.created == created
