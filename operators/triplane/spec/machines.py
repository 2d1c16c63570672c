"""Virtual machines, configured with Ansible, in a spec."""

from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from triplane.spec.drift import Drift
from triplane.spec.values import DnsName, Duration, Name, SourcePath, Value, ValuesFile

Reference = Annotated[str, StringConstraints(pattern=r"^\$\{[^}]+\}$")]
HostName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Serial = Annotated[int, Field(ge=1)] | Annotated[str, StringConstraints(pattern=r"^[1-9]\d?%$|^100%$")]
"""A number of machines, or a share of them: ``25%``."""
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Plain = str | int | bool


class Machine(Value):
    """One machine and how to get there."""

    address: str
    """Host name or IP address."""
    port: Annotated[int, Field(ge=1, le=65535)] | Reference | None = None
    """Of its SSH server."""
    user: str | None = None
    """Who logs in; else that of the machines."""
    host_key: str | None = None
    """Its public key: ``ssh-ed25519 AAAA…``."""
    variables: dict[VariableName, Any] = {}
    """Of this machine alone."""


class MachineGate(Value):
    """What must answer between two batches. In ``url``, ``{address}`` and ``{host}`` stand for each machine."""

    url: Annotated[str, StringConstraints(pattern=r"^https?://\S+$")]
    """What is asked."""
    status: Annotated[int, Field(ge=100, le=599)] = 200
    """What it must answer."""
    contains: str = ""
    """A text that the answer must hold."""
    within: Duration = timedelta(minutes=1)
    """How long it may take until it does."""


class Machines(Value):
    """Machines and the playbook that configures them."""

    playbook: SourcePath
    hosts: Reference | dict[HostName, str | Machine] | None = None
    """Name -> address or :class:`Machine`, or a stack's output that is such a mapping, or a list."""
    inventory: Annotated[tuple[ValuesFile, ...], Field(strict=False)] = ()
    """Files of the source, static ones or of dynamic inventory plugins, in place of ``hosts``."""
    after: Annotated[tuple[DnsName, ...], Field(strict=False)] = ()
    """Other machines that are configured before."""
    user: str = ""
    key: Name | None = None
    """Name of the secret that holds the private SSH key."""
    login: Literal["ec2_instance_connect", "os_login"] | None = None
    """The cloud lets a key in that is made for the run."""
    vault_password: Name | None = None
    """Name of the secret that decrypts what the source holds encrypted with ``ansible-vault``."""
    known_hosts: Annotated[tuple[str, ...], Field(strict=False)] = ()
    ssh: dict[str, Plain] = {}
    """Options of ``ssh_config``."""
    variables: dict[VariableName, Any] = {}
    credentials: bool = False
    """Whether Ansible gets the credentials of the cloud's connection."""
    serial: Annotated[tuple[Serial, ...], Field(strict=False)] = ()
    gate: MachineGate | None = None
    destroy_playbook: SourcePath | None = None
    forks: Annotated[int, Field(ge=1, le=200)] = 10
    timeout: Duration | None = None
    """For one run of Ansible."""
    stop_grace: Duration = timedelta(seconds=30)
    drift: Annotated[Drift, Field(default_factory=Drift)]

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.hosts) == bool(self.inventory):
            raise ValueError("say which machines: give 'hosts' or 'inventory', one of the two")
        if self.login and self.key:
            raise ValueError("with 'login' the cloud lets a key of the run in: remove 'key'")
        if self.gate is not None and not self.serial:
            raise ValueError("a gate is between batches; give their sizes with 'serial'")
        return self

    def secrets(self) -> dict[str, str]:
        """Names of secrets, by what they are for."""
        named = {"key": self.key, "vault_password": self.vault_password}
        return {key: name for key, name in named.items() if name is not None}

    def settings(self) -> dict[str, Any]:
        """What the operators take as it is written."""
        return self.asdict("hosts", "inventory", "user", "known_hosts", "ssh", "variables")
