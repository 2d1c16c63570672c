"""What a run of Ansible needs, in a private folder that is removed with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from triplane.core.errors import InputError
from triplane.core.private import private_dir, write_private
from triplane.core.redact import Redactor
from triplane.machines import ansible, ssh
from triplane.machines.ansible import Ansible
from triplane.machines.hosts import Host, environment, inventory, of_inventory
from triplane.machines.login import knocking, refusals

CONFIG = "ansible.cfg"
VAULT = "TRIPLANE_VAULT_PASSWORD"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """``folder`` holds the playbook. The machines are ``hosts``, or those of the inventory files ``inventory``.

    ``key`` is a private SSH key, None for those of the worker's user; ``knock`` its public half, where EC2 Instance Connect
    is to let it in. ``secrets`` are variables as well; they, the key,
    ``vault_password`` and, with ``secret_hosts``, the variables of ``hosts`` travel in the environment, beside ``credentials`` for inventories and proxies. Times are in seconds.
    """

    folder: Path
    group: str
    hosts: Sequence[Host] | None = None
    secret_hosts: bool = False
    inventory: Sequence[Path] = ()
    user: str = ""
    known_hosts: Sequence[str] = ()
    ssh: Mapping[str, str | int | bool] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, Any] = field(default_factory=dict, repr=False)
    key: str | None = field(default=None, repr=False)
    knock: str = ""
    vault_password: str | None = field(default=None, repr=False)
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    forks: int = 10
    timeout: float | None = None
    grace: float = 30
    playbook_bin: str = "ansible-playbook"


class NoMachines(InputError):
    """The inventory is read, and holds none."""


@contextmanager
def opened(
    setup: Setup, *, say: Callable[[str], None], redactor: Callable[[], Redactor]
) -> Iterator[tuple[Ansible, tuple[Host, ...]]]:
    """Ansible, ready to run, and the machines that it knows.

    :raises NoMachines: there are none
    :raises InputError: the inventory cannot be read, or no key of a machine is known
    """
    with private_dir() as scratch:
        for name in ("tmp", "cp"):
            (scratch / name).mkdir(mode=0o700)
        known, ssh_config = scratch / "known_hosts", scratch / "ssh_config"
        ssh_args = ssh.arguments(ssh_config, known)
        variables = ansible.extra_vars(setup.variables, setup.secrets, ssh_args)
        env = ansible.environment(
            scratch, config=_config(setup, scratch), ssh_args=ssh_args, key=setup.key, secrets=setup.secrets
        )
        found = Ansible(
            folder=setup.folder,
            scratch=scratch,
            inventory=_inventory(setup, scratch),
            variables=write_private(scratch / "variables.yaml", variables),
            env={**env, **_hosts(setup), **_user(setup), **_vault(setup, scratch), **setup.credentials},
            forks=setup.forks,
            timeout=setup.timeout,
            grace=setup.grace,
            playbook_bin=setup.playbook_bin,
            say=say,
            redactor=redactor,
        )
        hosts = tuple(setup.hosts) if setup.hosts is not None else of_inventory(found.listed())
        if not hosts:
            raise NoMachines(
                "there is no machine in the inventory; is it of the right environment, and are they up?"
            )
        write_private(known, ssh.known_hosts(hosts, setup.known_hosts))
        options = {**setup.ssh, **(knocking(scratch, setup.knock, hosts) if setup.knock else {})}
        write_private(ssh_config, ssh.config(known, options, hosts))
        try:
            yield found, hosts
        finally:
            for line in refusals(scratch):
                say(f"EC2 Instance Connect: {line}")


def _config(setup: Setup, scratch: Path) -> Path:
    """The folder's own ``ansible.cfg``, or an empty one: what the worker has is not part of the source."""
    own = setup.folder / CONFIG
    return own if own.is_file() else write_private(scratch / CONFIG, "")


def _hosts(setup: Setup) -> dict[str, str]:
    return environment(setup.hosts) if setup.hosts and setup.secret_hosts else {}


def _user(setup: Setup) -> dict[str, str]:
    return {"ANSIBLE_REMOTE_USER": setup.user} if setup.user else {}


def _vault(setup: Setup, scratch: Path) -> dict[str, str]:
    """A program that says the password of the source's vaults, from the environment that it is started in."""
    if setup.vault_password is None:
        return {}
    program = write_private(scratch / "vault-password", f'#!/bin/sh\nprintf "%s\\n" "${VAULT}"\n')
    program.chmod(0o700)
    return {"ANSIBLE_VAULT_PASSWORD_FILE": str(program), VAULT: setup.vault_password}


def _inventory(setup: Setup, scratch: Path) -> list[Path]:
    if setup.hosts is not None:
        return [
            write_private(
                scratch / "hosts.yaml", inventory(setup.group, setup.hosts, secret=setup.secret_hosts)
            )
        ]
    missing = [str(path) for path in setup.inventory if not path.exists()]
    if missing or not setup.inventory:
        raise InputError(f"{', '.join(missing) or 'nothing'}: there is no such inventory in the source")
    return list(setup.inventory)
