"""How OpenSSH gets to the machines: only to those whose keys are known."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from triplane.core.errors import InputError
from triplane.machines.hosts import Host

OURS = frozenset(
    name.lower()
    for name in (
        *("StrictHostKeyChecking", "UserKnownHostsFile", "GlobalKnownHostsFile", "KnownHostsCommand"),
        *("CheckHostIP", "NoHostAuthenticationForLocalhost", "UpdateHostKeys", "VerifyHostKeyDNS", "Include"),
        *(
            "IdentityFile",
            "IdentityAgent",
            "CertificateFile",
            "ControlMaster",
            "ControlPath",
            "ControlPersist",
        ),
        *("PermitLocalCommand", "LocalCommand", "Host", "Match", "BatchMode"),
    )
)
"""Options that would take the check of host keys away, or the run's own agent and connections."""
PERSIST = "15s"
_OPTION = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_REFUSED = re.compile(
    r"Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED|No \S+ host key is known"
)


def known_hosts(hosts: Sequence[Host], lines: Sequence[str]) -> str:
    """A ``known_hosts`` file: the keys of ``hosts``, and ``lines`` for those that have none and for bastions.

    :raises InputError: no key at all is known of a host
    """
    own = [f"{host.place} {host.host_key}" for host in hosts if host.host_key]
    given = [line.strip() for text in lines for line in text.splitlines() if line.strip()]
    unknown = [host.name for host in hosts if not host.host_key]
    if unknown and not given:
        raise InputError(
            f"no host key is known of {', '.join(unknown)}, so nobody could tell the machine from another one that "
            "answers at its address: give `host_key` for each, or `known_hosts` (`ssh-keyscan` writes such lines; "
            "compare them with what the machine itself shows)"
        )
    return "".join(f"{line}\n" for line in (*own, *given))


def config(known: Path, options: Mapping[str, str | int | bool], hosts: Sequence[Host]) -> str:
    """An ``ssh_config`` that checks every host's key, a bastion's too, and has ``options`` for ``hosts``.

    :raises InputError: one of them is not an option, or is ours
    """
    lines = ["Host *", *(f"  {name} {value}" for name, value in _checks(known).items())]
    if options and hosts:
        places = dict.fromkeys(host.address for host in hosts)
        lines += [f"Host {' '.join(places)}", *(_line(*each) for each in options.items())]
    return "".join(f"{line}\n" for line in lines)


def arguments(config_file: Path, known: Path) -> str:
    """Ansible's ``ssh_args``. The checks are said here as well: what comes first on a command line wins."""
    checks = " ".join(f'-o {name}="{value}"' for name, value in _checks(known).items())
    return f'-F "{config_file}" {checks} -C -o ControlMaster=auto -o ControlPersist={PERSIST}'


def is_refused(message: str) -> bool:
    """Whether ssh found another key than the known one, or none."""
    return bool(_REFUSED.search(message))


def _checks(known: Path) -> dict[str, str]:
    return {
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(known),
        "GlobalKnownHostsFile": "/dev/null",
        "UpdateHostKeys": "no",
        "NoHostAuthenticationForLocalhost": "no",
    }


def _line(name: str, value: str | int | bool) -> str:
    text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
    if not _OPTION.fullmatch(name) or "\n" in text or not text.strip():
        raise InputError(f"ssh: {name}: {text!r} is no option of ssh_config with its value on one line")
    if name.lower() in OURS:
        raise InputError(
            f"ssh: {name} is not free to choose: host keys are always checked, with the keys of this run"
        )
    return f"  {name} {text}"
