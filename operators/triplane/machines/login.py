"""SSH keys that a cloud lets in for a while: made for one run, and in no file."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from triplane.core.errors import InputError, TriplaneError
from triplane.core.private import write_private
from triplane.forge.rest import Client, Forbidden
from triplane.machines.hosts import Host

OS_LOGIN = "https://oslogin.googleapis.com/v1"
KNOCKED = "knock.json"
KNOCK = Path(__file__).with_name("knock.py")
LONGEST = 24 * 3600.0
"""Seconds that a key is good for at OS Login; it is taken away at the end of the run, which may be of many batches."""


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
def os_login(
    client: Client, account: str, project: str, public: str, say: Callable[[str], None]
) -> Iterator[str]:
    """Have OS Login let the key ``public`` in as ``account`` (a service account's email); gives the user to log in as.

    :param client: of :data:`OS_LOGIN`, as ``account``
    :raises InputError: Google refuses it, or the account has no user in the project
    """
    user = f"/users/{quote(account)}"
    body = {"key": public, "expirationTimeUsec": str(int((time.time() + LONGEST) * 1_000_000))}
    try:
        answer = client.call("POST", f"{user}:importSshPublicKey?projectId={quote(project)}", body)
    except Forbidden as error:
        raise InputError(
            f"OS Login: {error}; the connection's account needs roles/compute.osLogin"
        ) from error
    profile = answer["loginProfile"]
    try:
        yield _user(profile, account, project)
    finally:
        keys: Mapping[str, Any] = profile.get("sshPublicKeys") or {}
        for fingerprint in [name for name, each in keys.items() if each["key"].strip() == public]:
            try:
                client.call("DELETE", f"{user}/sshPublicKeys/{quote(fingerprint)}")
            except TriplaneError as error:
                say(f"OS Login: the key of this run stays until it expires, in a day: {error}")


def _user(profile: Mapping[str, Any], account: str, project: str) -> str:
    accounts: list[Mapping[str, Any]] = profile.get("posixAccounts") or []
    if not accounts:
        raise InputError(
            f"OS Login: {account} has no user in {project}: give it the role roles/compute.osLogin"
        )
    return str(next((each for each in accounts if each.get("primary")), accounts[0])["username"])
