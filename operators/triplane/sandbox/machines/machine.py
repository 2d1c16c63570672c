"""One machine: an sshd of its own with its own host key, whose home is its own folder."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from triplane.core.private import write_private
from triplane.sandbox.runtime import listens
from triplane.sandbox.service import Service

# Where sshd, started by root, wants an empty folder: compiled into Debian's.
PRIVILEGE_SEPARATION = Path("/run/sshd")
CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100:30:200
SetEnv HOME={home}
Subsystem sftp internal-sftp
"""


@dataclass(frozen=True)
class Machine:
    """Everybody logs in as the sandbox's user; ``home`` is what tells one machine's files from another's."""

    name: str
    folder: Path
    port: int

    @property
    def home(self) -> Path:
        """What ``~`` is on this machine."""
        return self.folder / "home"

    @property
    def host_key(self) -> str:
        """Its public key: ``ssh-ed25519 AAAA…``."""
        return (self.folder / "host_key.pub").read_text().strip()

    def prepare(self, public_key: str) -> None:
        """Make its keys and its configuration; who holds the key of ``public_key`` may log in."""
        self.home.mkdir(parents=True)
        private, public = key_pair()
        write_private(self.folder / "host_key", private)
        (self.folder / "host_key.pub").write_text(public)
        (self.folder / "authorized_keys").write_text(public_key)
        config = CONFIG.format(port=self.port, folder=self.folder, home=self.home)
        (self.folder / "sshd_config").write_text(config)
        if os.geteuid() == 0:
            PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)

    @property
    def argv(self) -> tuple[str, ...]:
        """sshd insists on an absolute path."""
        sshd = (
            shutil.which("sshd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin") or "/usr/sbin/sshd"
        )
        return (sshd, "-D", "-e", "-f", str(self.folder / "sshd_config"))

    def service(self) -> Service:
        """It as a service of the sandbox."""
        return Service(name=f"machine-{self.name}", argv=self.argv, ready=lambda: listens(self.port))

    def start(self) -> subprocess.Popen[bytes]:
        """It without a sandbox."""
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def host(self) -> dict[str, Any]:
        """It as an entry of ``hosts``. Ansible asks the user database for ``~``, so it is told of the home."""
        return {
            "address": "127.0.0.1",
            "port": self.port,
            "user": getpass.getuser(),
            "host_key": self.host_key,
            "variables": {
                "machine_home": str(self.home),
                "ansible_remote_tmp": str(self.home / ".ansible"),
                "ansible_python_interpreter": sys.executable,
            },
        }


def key_pair() -> tuple[str, str]:
    """A private key (PEM of OpenSSH) and its public key (one line)."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    return private, key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
