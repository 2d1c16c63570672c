from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest

from triplane.images.login import Login, write_logins


def password(path: Path) -> str:
    login: str = json.loads(path.read_text())["auths"]["x.io"]["auth"]
    return base64.b64decode(login).decode().partition(":")[2]


class Counted:
    """Gives the passwords 1, 2, 3."""

    def __init__(self) -> None:
        self.given = 0

    def __call__(self) -> tuple[str, str]:
        self.given += 1
        return "me", str(self.given)


def test_the_login_is_in_a_private_file(tmp_path: Path) -> None:
    path = write_logins(tmp_path / "auth.json", {"x.io": ("me", "pass:word")})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert password(path) == "pass:word"


@pytest.mark.parametrize(
    ("lifetime", "age", "used"), [(100, 40, "1"), (100, 60, "2"), (None, 1e6, "1"), (3600, 1700, "1")]
)
def test_it_is_renewed_when_half_of_its_life_is_over(
    lifetime: float | None, age: float, used: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("triplane.images.login.time.monotonic", lambda: now)
    login = Login(tmp_path / "auth.json", "x.io", Counted(), lifetime=lifetime)
    now += age
    login.keep_fresh()
    assert password(login.path) == used
    assert stat.S_IMODE(login.path.stat().st_mode) == 0o600
    login.keep_fresh()
    assert password(login.path) == used


@pytest.mark.parametrize(
    ("lifetime", "age", "again"), [(3600, 61, True), (3600, 5, False), (None, 61, False)]
)
def test_after_a_refusal_it_is_renewed_unless_it_is_new_or_cannot_expire(
    lifetime: float | None, age: float, again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("triplane.images.login.time.monotonic", lambda: now)
    login = Login(tmp_path / "auth.json", "x.io", Counted(), lifetime=lifetime)
    now += age
    assert login.renewed() is again
    assert password(login.path) == ("2" if again else "1")
    assert login.renewed() is False
