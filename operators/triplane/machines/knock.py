"""EC2 Instance Connect as ssh's ``ProxyCommand``: shows the run's public key to the instance, then connects.

Usage: ``python knock.py FILE HOST PORT USER`` with ``{"public_key": str, "instances": {host: instance id}}`` in ``FILE``
and AWS's credentials in the environment. A key is good for one minute, so each connection brings it along. Hands the
connected socket to ssh (``ProxyUseFdpass``). Why it could not goes to ``FILE.log``: ssh lets nobody see its proxy's words.
"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

CONNECT_SECONDS = 20.0


def main(file: str, host: str, port: str, user: str) -> int:
    """Show the key, connect, hand over."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    known = json.loads(Path(file).read_text())
    try:
        if host not in known["instances"]:
            raise OSError("it has another address here than in the inventory, so its instance is not known")
        boto3.client("ec2-instance-connect").send_ssh_public_key(
            InstanceId=known["instances"][host], InstanceOSUser=user, SSHPublicKey=known["public_key"]
        )
        connected = socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS)
    except (BotoCoreError, ClientError, OSError) as error:
        with Path(f"{file}.log").open("a") as log:
            log.write(f"{host}: {error}\n")
        return 1
    connected.setblocking(True)
    with socket.socket(fileno=1) as ssh:
        socket.send_fds(ssh, [b"\0"], [connected.fileno()])
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
