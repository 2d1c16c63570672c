"""EC2 Instance Connect over moto's: a key is let into an instance that runs, for a minute.

Each instance's keys are in a file of its own, as sshd takes them (``AuthorizedKeysFile``).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.ec2.models import ec2_backends
from moto.ec2instanceconnect.responses import Ec2InstanceConnectResponse

SECONDS = 60
KINDS = ("ssh-ed25519 ", "ssh-rsa ")


def install(folder: Path) -> None:
    """Put it over moto's; the files are in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    answer = Ec2InstanceConnectResponse.send_ssh_public_key

    def send_ssh_public_key(self: Any) -> Any:
        identity, user, key = (
            str(self._get_param(name)) for name in ("InstanceId", "InstanceOSUser", "SSHPublicKey")
        )
        known = {each.id: each for each in ec2_backends[self.current_account][self.region].all_instances()}
        if identity not in known:
            raise JsonRESTError("EC2InstanceNotFoundException", f"Instance not found: {identity}")
        if known[identity].state != "running":
            raise JsonRESTError("EC2InstanceStateInvalidException", f"{identity} is not running")
        if not key.startswith(KINDS) or not user:
            raise JsonRESTError("InvalidArgsException", "SSHPublicKey or InstanceOSUser is not valid")
        let_in(folder / identity, key, SECONDS)
        return answer(self)

    Ec2InstanceConnectResponse.send_ssh_public_key = send_ssh_public_key


def let_in(file: Path, key: str, seconds: float) -> None:
    """Have sshd take ``key`` so long, as one of the keys in ``file``."""
    ends = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + seconds))
    with file.open("a") as keys:
        keys.write(f'expiry-time="{ends}" {key.strip()}\n')
