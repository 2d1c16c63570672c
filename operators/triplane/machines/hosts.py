"""The machines that a playbook runs on: as the spec, a stack's output or an Airflow Variable gives them."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from triplane.core.digest import canonical_json, digest
from triplane.core.errors import InputError

FORMS = (
    "a list of addresses, a mapping name -> address, or either with {address, port, user, host_key, variables} for "
    "an address"
)
NAMES = frozenset({"name", "address", "port", "user", "host_key", "variables"})
IN_ENVIRONMENT = "TRIPLANE_HOST_"
"""What the environment variables begin with that hold a host's variables, as JSON."""
_INSTANCE = re.compile(r"i-[0-9a-f]{8,17}")
_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_ADDRESS = re.compile(r"[A-Za-z0-9:][A-Za-z0-9_.:%-]*")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@\\-]*")
_HOST_KEY = re.compile(r"[a-z0-9@.-]+ [A-Za-z0-9+/]+=*( .*)?")


@dataclass(frozen=True, kw_only=True)
class Host:
    """One machine. ``host_key`` is its public key (``ssh-ed25519 AAAA…``), empty where ``known_hosts`` has it."""

    name: str
    address: str
    port: int | None = None
    user: str = ""
    host_key: str = ""
    variables: Mapping[str, Any] = field(default_factory=dict)

    @property
    def instance(self) -> str:
        """Its id at EC2, empty where neither its name nor its variable ``instance_id`` says it."""
        named = self.name if _INSTANCE.fullmatch(self.name) else ""
        return str(self.variables.get("instance_id") or named)

    @property
    def place(self) -> str:
        """How ``known_hosts`` calls it."""
        return self.address if self.port in (None, 22) else f"[{self.address}]:{self.port}"

    def entry(self) -> dict[str, Any]:
        """Its variables in an inventory."""
        known = {"ansible_host": self.address, "ansible_port": self.port, "ansible_user": self.user}
        return {**self.variables, **{name: value for name, value in known.items() if value}}


def parse(value: Any) -> tuple[Host, ...]:
    """Hosts in any of :data:`FORMS`, or as JSON text of it. :raises InputError: it is something else"""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise InputError(f"hosts are neither {FORMS}, nor JSON of that") from None
    if isinstance(value, Mapping):
        found = [_host(str(name), body) for name, body in value.items()]
    elif isinstance(value, Sequence):
        found = [_host("", body) for body in value]
    else:
        raise InputError(f"hosts are {FORMS}; this is of type {type(value).__name__}")
    names = [host.name for host in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"there are several hosts called {', '.join(twice)}; give each a name of its own")
    return tuple(found)


def _host(name: str, body: Any) -> Host:
    given: Any = {"address": body} if isinstance(body, str) else body
    if not isinstance(given, Mapping) or "address" not in given or given.keys() - NAMES:
        raise InputError(
            f"host {name or repr(body)}: give its address, or a mapping of {', '.join(sorted(NAMES))}"
        )
    address = str(given["address"])
    host = Host(
        name=str(given.get("name") or name or address),
        address=address,
        port=int(given["port"]) if given.get("port") else None,
        user=str(given.get("user") or ""),
        host_key=str(given.get("host_key") or "").strip(),
        variables=given.get("variables") or {},
    )
    for what, pattern, text in (
        ("name", _NAME, host.name),
        ("address", _ADDRESS, host.address),
        ("user", _USER, host.user or "x"),
        ("host_key", _HOST_KEY, host.host_key or "x x"),
    ):
        if not pattern.fullmatch(text):
            raise InputError(f"host {host.name!r}: {text!r} is no valid {what}")
    if not isinstance(host.variables, Mapping):
        raise InputError(f"host {host.name!r}: variables are a mapping name -> value")
    if bad := [str(each) for each in host.variables if not _VARIABLE.fullmatch(str(each))]:
        raise InputError(
            f"host {host.name!r}: {', '.join(bad)} is no name of a variable: letters, digits and underscores"
        )
    return host


def of_inventory(listed: Mapping[str, Any]) -> tuple[Host, ...]:
    """The hosts of ``ansible-inventory --list``, as far as connections are concerned."""
    variables = (listed.get("_meta") or {}).get("hostvars") or {}
    names = {
        name for group in listed.values() for name in (group.get("hosts") or ()) if isinstance(group, Mapping)
    }
    found = []
    for name in sorted(names | variables.keys()):
        known = {key: _plain(value) for key, value in (variables.get(name) or {}).items()}
        port = known.get("ansible_port")
        address, user = str(known.get("ansible_host") or name), str(known.get("ansible_user") or "")
        kept = {"instance_id": known["instance_id"]} if known.get("instance_id") else {}
        number = int(port) if port else None
        found.append(Host(name=name, address=address, port=number, user=user, variables=kept))
    return tuple(found)


def _plain(value: Any) -> Any:
    """``ansible-inventory`` marks texts that are no templates."""
    return value.get("__ansible_unsafe", value) if isinstance(value, Mapping) else value


def digest_of(hosts: Sequence[Host]) -> str:
    """The same for the same machines with the same keys. Secret variables cannot be guessed from it at any speed."""
    places = [[host.name, host.place, host.user, host.host_key] for host in hosts]
    variables = canonical_json([dict(host.variables) for host in hosts])
    return digest(
        [places, hashlib.scrypt(variables, salt=canonical_json(places), n=2**14, r=8, p=1, dklen=32).hex()]
    )


def inventory(group: str, hosts: Sequence[Host], *, secret: bool = False) -> str:
    """An inventory of one group, in YAML. Of ``secret`` variables it says only where in the environment each is."""
    entries = [_looked_up(number, host) if secret else host for number, host in enumerate(hosts)]
    body: dict[str, Any] = {"hosts": {host.name: host.entry() for host in entries}}
    name = re.sub(r"\W", "_", group)
    return as_values({"all": {"children": {name: body}}})


def environment(hosts: Sequence[Host]) -> dict[str, str]:
    """What an :func:`inventory` of ``secret`` variables looks up."""
    return {f"{IN_ENVIRONMENT}{number}": json.dumps(host.variables) for number, host in enumerate(hosts)}


def _looked_up(number: int, host: Host) -> Host:
    place = f"{IN_ENVIRONMENT}{number}"
    return replace(host, variables={name: from_environment(place, name) for name in host.variables})


def from_environment(place: str, key: str = "") -> str:
    """For :func:`as_values`: what the environment variable ``place`` holds as JSON, or what that has under ``key``."""
    found = f"lookup('ansible.builtin.env', '{place}') | from_json"
    return _Template(f"{{{{ ({found})['{key}'] }}}}" if key else f"{{{{ {found} }}}}")


def as_values(value: Any) -> str:
    """YAML for Ansible in which no text but those of :func:`from_environment` is taken for a template: values are values."""
    return yaml.dump(_marked(value), Dumper=_Dumper, sort_keys=False, default_style=None, width=sys.maxsize)


class _Unsafe(str):
    """A text that Ansible must not evaluate."""


class _Template(str):
    """A text of our own that Ansible evaluates."""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(
    _Unsafe, lambda dumper, text: dumper.represent_scalar("!unsafe", str(text), style='"')
)


_Dumper.add_representer(
    _Template, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style='"')
)


def _marked(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _marked(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_marked(item) for item in value]
    return _Unsafe(value) if isinstance(value, str) and not isinstance(value, _Template) else value


def batches(names: Sequence[str], serial: Sequence[int | str]) -> list[list[str]]:
    """``names`` in the order given, in batches as Ansible's ``serial`` makes them: numbers or ``"25%"``, the last
    one again and again. All at once without any.
    """
    if not serial:
        return [list(names)] if names else []
    sizes = [_size(each, len(names)) for each in serial]
    found: list[list[str]] = []
    at = 0
    while at < len(names):
        size = sizes[min(len(found), len(sizes) - 1)]
        found.append(list(names[at : at + size]))
        at += size
    return found


def _size(serial: int | str, count: int) -> int:
    text = str(serial)
    number = int(text[:-1]) * count // 100 if text.endswith("%") else int(text)
    return max(1, number)
