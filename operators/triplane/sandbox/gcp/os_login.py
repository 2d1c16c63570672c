"""OS Login: keys that are let into the machines of a project, until they expire or are taken away.

An account's keys are in a file of its own, as sshd takes them (``AuthorizedKeysFile``). Everybody's user on the sandbox's
machines is the sandbox's own.
"""

from __future__ import annotations

import base64
import getpass
import hashlib
import time
from pathlib import Path

from triplane.sandbox.gcp.errors import ApiError, invalid
from triplane.sandbox.gcp.state import PROJECT, Body, Call, Handler

PREFIX = "oslogin.users"


class OsLogin:
    """``users.importSshPublicKey`` and ``users.sshPublicKeys``; the files are in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keys: dict[str, dict[str, Body]] = {}

    def handlers(self) -> dict[str, Handler]:
        return {f"{PREFIX}.importSshPublicKey": self.take, f"{PREFIX}.sshPublicKeys.delete": self.delete}

    def take(self, call: Call) -> Body:
        account = self._own(call, call.params["parent"])
        if call.params.get("projectId") not in (None, PROJECT):
            raise ApiError(403, f"Permission denied on project {call.params['projectId']}.")
        key, ends = str(call.body.get("key", "")).strip(), call.body.get("expirationTimeUsec")
        parts = key.split()
        if len(parts) < 2 or not parts[0].startswith(("ssh-", "ecdsa-")):
            raise invalid("ssh_public_key.key", "Invalid SSH public key.")
        if ends is not None and int(ends) / 1_000_000 <= time.time():
            raise invalid("ssh_public_key.expiration_time_usec", "The expiration time is in the past.")
        fingerprint = hashlib.sha256(base64.b64decode(parts[1])).hexdigest()
        found = {
            "key": key,
            "fingerprint": fingerprint,
            "name": f"users/{account}/sshPublicKeys/{fingerprint}",
        }
        self._keys.setdefault(account, {})[fingerprint] = {
            **found,
            **({"expirationTimeUsec": ends} if ends else {}),
        }
        self._write(account)
        user = {"primary": True, "username": getpass.getuser(), "accountId": PROJECT}
        profile = {"name": account, "posixAccounts": [user], "sshPublicKeys": self._keys[account]}
        return {"loginProfile": profile}

    def delete(self, call: Call) -> Body:
        owner, _, fingerprint = str(call.params["name"]).partition("/sshPublicKeys/")
        account = self._own(call, owner)
        if self._keys.get(account, {}).pop(fingerprint, None) is None:
            raise ApiError(404, "SSH public key not found.")
        self._write(account)
        return {}

    def _own(self, call: Call, name: str) -> str:
        """Nobody without more rights may let keys of others in."""
        account = name.removeprefix("users/")
        if account != call.caller:
            raise ApiError(403, f"{call.caller} may not act as {account}.")
        return account

    def _write(self, account: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        lines = []
        for each in self._keys[account].values():
            ends = int(each.get("expirationTimeUsec", 0)) // 1_000_000
            until = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(ends))
            lines.append(f'expiry-time="{until}" {each["key"]}\n' if ends else f"{each['key']}\n")
        (self._folder / account).write_text("".join(lines))
