from __future__ import annotations

from pathlib import Path

import pytest

from triplane.core.errors import ToolError
from triplane.images.reference import Reference
from triplane.images.registries import fetch_args, inspect_args, is_absent, is_transient, push_args

REFERENCE = Reference.parse("x.io/a:t")


def test_arguments() -> None:
    auth = ("--authfile", "/s/auth.json")
    copy = ("skopeo", "copy", "--all", "--preserve-digests", "--retry-times", "2")
    assert inspect_args(REFERENCE, auth) == ("skopeo", "inspect", "--raw", *auth, "docker://x.io/a:t")
    assert inspect_args(REFERENCE, None)[3] == "--no-creds"
    assert inspect_args(REFERENCE, ())[3] == "docker://x.io/a:t"
    assert push_args(Path("/l"), REFERENCE, auth) == (*copy, *auth, "oci:/l", "docker://x.io/a:t")
    assert "--dest-no-creds" in push_args(Path("/l"), REFERENCE, None)
    assert fetch_args(REFERENCE, Path("/l"), ()) == (*copy, "docker://x.io/a:t", "oci:/l")
    assert "--src-no-creds" in fetch_args(REFERENCE, Path("/l"), None)


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


@pytest.mark.parametrize(
    ("stderr", "absent"),
    [
        ("reading manifest 1 in x.io/a: manifest unknown", True),
        ("reading manifest 1 in x.io/a: MANIFEST_UNKNOWN: manifest unknown; map[Tag:1]", True),
        ("reading manifest 1 in x.io/a: name unknown: The repository with name 'a' does not exist", True),
        ("reading manifest 1 in x.io/a: unknown: artifact a:1 not found", True),
        ('reading manifest 1 in x.io/a: unknown: Repository "a" not found', True),
        ("reading manifest 1 in x.io/a: StatusCode: 404, 404 page not found", True),
        (
            'Error parsing image name "docker://x.io/a:1": getting username and password: error getting credentials - '
            'err: exec: "docker-credential-ecr-login": executable file not found in $PATH, out: ``',
            False,
        ),
        ("getting username and password: credentials not found in native keychain", False),
        ("reading manifest 1 in x.io/a: unauthorized: authentication required", False),
    ],
)
def test_what_is_not_there(stderr: str, absent: bool) -> None:
    assert is_absent(ToolError(("skopeo", "inspect"), 1, stderr)) is absent
