"""SSH keys that a cloud lets in for a while: made for one run, and in no file."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from triplane.core.errors import InputError, TransientError
from triplane.core.private import write_private
from triplane.machines.hosts import Host

OS_LOGIN = "https://oslogin.googleapis.com/v1"
KNOCKED = "knock.json"
KNOCK = Path(__file__).with_name("knock.py")
LONGEST = 6 * 3600.0
"""Seconds that a key is good for at OS Login where the run has no time limit; it is taken away at its end."""
SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A key of one run: the private half as OpenSSH writes it, the public one as a line."""

    private: str = field(repr=False)
    public: str


def new_pair() -> Pair:
    """A new one."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return Pair(private=private, public=public)


def knocking(scratch: Path, public: str, hosts: Sequence[Host]) -> dict[str, str]:
    """The options of ``ssh_config`` with which ``hosts`` are shown the key ``public`` by EC2 Instance Connect.

    :raises InputError: of one the instance is not known
    """
    instances = {host.address: host.instance for host in hosts}
    if unknown := [host.name for host in hosts if not host.instance]:
        raise InputError(
            f"the instance of {', '.join(unknown)} is not known: call the machine by its instance id, or give it the "
            "variable `instance_id`"
        )
    file = write_private(scratch / KNOCKED, json.dumps({"public_key": public, "instances": instances}))
    return {
        "ProxyCommand": f'"{sys.executable}" -P "{KNOCK}" "{file}" %h %p %r',
        "ProxyUseFdpass": "yes",
    }


def refusals(scratch: Path) -> list[str]:
    """What EC2 Instance Connect said to those of :func:`knocking` that it did not let in, each once."""
    log = scratch / f"{KNOCKED}.log"
    return list(dict.fromkeys(log.read_text().splitlines())) if log.exists() else []


@contextmanager
def os_login(session: Any, account: str, project: str, public: str, seconds: float | None) -> Iterator[str]:
    """Have OS Login let the key ``public`` in as ``account`` (a service account's email); gives the user to log in as.

    :param session: a ``requests.Session`` that signs what it sends as ``account``
    :raises InputError: Google refuses it, or the account has no user in the project
    """
    user = f"{OS_LOGIN}/users/{quote(account)}"
    ends = str(int((time.time() + (seconds or LONGEST)) * 1_000_000))
    body = {"key": public, "expirationTimeUsec": ends}
    profile = _call(session, "POST", f"{user}:importSshPublicKey?projectId={quote(project)}", body)[
        "loginProfile"
    ]
    accounts: list[Mapping[str, Any]] = profile.get("posixAccounts") or []
    if not accounts:
        raise InputError(
            f"OS Login: {account} has no user in {project}: give it the role roles/compute.osLogin"
        )
    try:
        yield str(next((each for each in accounts if each.get("primary")), accounts[0])["username"])
    finally:
        mine = [
            key for key, each in (profile.get("sshPublicKeys") or {}).items() if each["key"].strip() == public
        ]
        for fingerprint in mine:
            _call(session, "DELETE", f"{user}/sshPublicKeys/{quote(fingerprint)}")


def _call(session: Any, verb: str, url: str, body: Any = None) -> Any:
    answer = session.request(verb, url, json=body, timeout=SECONDS)
    if answer.ok or (verb == "DELETE" and answer.status_code == 404):
        return answer.json()
    said = f"OS Login: {answer.status_code} {answer.text[:300]}"
    if answer.status_code == 429 or answer.status_code >= 500:
        raise TransientError(said)
    raise InputError(f"{said}; the connection's account needs roles/compute.osLogin")
