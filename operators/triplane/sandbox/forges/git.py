"""The forges' repositories over git's own HTTP protocol: a real ``git http-backend`` behind a check of who asks."""

from __future__ import annotations

import base64
import binascii
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

from triplane.sandbox.forges.asked import Answer, Asked

SERVED = re.compile(r"/(?P<repository>[\w.-]+(?:/[\w.-]+)+)\.git/(?P<rest>info/refs|git-upload-pack)")
HEADERS = {
    "Content-Type": "CONTENT_TYPE",
    "Content-Encoding": "HTTP_CONTENT_ENCODING",
    "Git-Protocol": "GIT_PROTOCOL",
}
"""What the backend reads of a request -> under which name."""


class GitHost:
    """One forge's bare repositories, ``<root>/<owner>/<name>.git``. Nobody may push; ``may_read`` says whose password is good."""

    def __init__(self, root: Path, realm: str, may_read: Callable[[str], bool]) -> None:
        self._root = root
        self._realm = realm
        self._may_read = may_read

    def serves(self, asked: Asked) -> bool:
        """Whether the request is one of git."""
        return SERVED.fullmatch(asked.path) is not None

    def answer(self, asked: Asked) -> Answer:
        """As GitHub and GitLab, who do not say which repositories there are before they know who asks."""
        if not self._may_read(_password(asked.headers.get("Authorization", ""))):
            return Answer(
                401, "Invalid username or token.", {"WWW-Authenticate": f'Basic realm="{self._realm}"'}
            )
        match = SERVED.fullmatch(asked.path)
        assert match is not None
        if not (self._root / f"{match['repository']}.git").is_dir():
            return Answer(404, "Repository not found.")
        return _cgi(self._root, asked)


def make_repository(root: Path, name: str) -> Path:
    """An empty bare repository in which any commit that is there may be asked for, as at the forges."""
    path = root / f"{name}.git"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _git("init", "--quiet", "--bare", "--initial-branch=main", str(path))
        _git("-C", str(path), "config", "uploadpack.allowAnySHA1InWant", "true")
    return path


def _git(*args: str) -> None:
    subprocess.run(["git", *args], check=True, capture_output=True)


def _password(header: str) -> str:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(encoded).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _cgi(root: Path, asked: Asked) -> Answer:
    env = {
        "PATH": os.environ.get("PATH", os.defpath),
        "GIT_PROJECT_ROOT": str(root),
        "GIT_HTTP_EXPORT_ALL": "1",
        "GIT_CONFIG_NOSYSTEM": "1",
        "REQUEST_METHOD": asked.method,
        "PATH_INFO": asked.path,
        "QUERY_STRING": urlencode(asked.query),
        "CONTENT_LENGTH": str(len(asked.body)),
        **{name: asked.headers[header] for header, name in HEADERS.items() if header in asked.headers},
    }
    git = shutil.which("git") or "git"
    done = subprocess.run([git, "http-backend"], input=asked.body, env=env, capture_output=True, check=False)
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    if not head:
        return Answer(500, done.stderr.decode(errors="replace"))
    headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
    status = int(headers.pop("Status", "200").split()[0])
    return Answer(status, body, headers)
