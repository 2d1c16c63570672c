"""What the Ansible operators share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from triplane import settings
from triplane.core.digest import digest_tree
from triplane.core.errors import InputError, TerminalError, TriplaneError
from triplane.core.logins import LOGINS
from triplane.core.references import holds_secret, is_secret, references, resolve
from triplane.secrets.references import lookup_in

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.machines.ansible import Ansible
    from triplane.machines.hosts import Host
    from triplane.machines.kept import Kept
    from triplane.machines.plan import Written
    from triplane.machines.setup import Setup


LONG = 8
"""Characters: shorter texts in the variables of machines that a secret names are taken for ordinary words."""


class AnsibleOperator(BaseOperator):
    """What these operators share; not used by itself.

    In all arguments ``${stack.output}``, ``${variable.name}`` and ``${connection.conn_id}`` stand for values.

    :param playbook: its path, inside the frozen source if there is one
    :param address: what messages and results call it: ``<cloud>/machines/<name>``
    :param source: digest of the frozen source, None for a playbook of the worker
    :param scope: where stack outputs are kept: ``<environment>/<cloud>``; by default the DAG's id
    :param hosts: the machines: addresses, a mapping name -> address, with ``{address, port, user, host_key, variables}``
        for an address where more is to be said, or JSON of that; or give the next one
    :param inventory: files of the source: static inventories, or settings of a dynamic inventory plugin such as
        ``workers.aws_ec2.yml``
    :param user: who logs in, where a host does not say it
    :param key: reference to a private SSH key, ``${variable.ssh_key}``; None for those of the worker's user
    :param login: ``ec2_instance_connect`` or ``os_login``, in place of ``key``: the cloud lets a key in that is made for the
        run; with ``cloud`` and ``cloud_conn_id``
    :param vault_password: reference to the password of what the source holds encrypted with ``ansible-vault``
    :param known_hosts: lines of a ``known_hosts`` file, for machines without ``host_key`` and for bastions
    :param ssh: options of ``ssh_config``, such as ``{"ProxyJump": "bastion"}``
    :param variables: variables that go above all others. Those that hold secrets travel in the environment
    :param serial: sizes of batches, numbers or ``"25%"``, the last one again and again; all at once without any
    :param gate: what must answer between two batches, see :class:`triplane.machines.rolling.Gate`
    :param destroy_playbook: what is run when the component is destroyed
    :param cloud: ``aws``, ``gcp`` or ``azure``: with ``cloud_conn_id`` gives Ansible credentials, for dynamic inventories
        and for what ``ssh`` starts as a proxy
    :param cloud_conn_id: the Airflow connection to that cloud
    :param cloud_options: for the credentials, such as ``{"region": "eu-west-1"}``
    :param forks: how many hosts are worked on at the same time
    :param timeout: seconds that one run of Ansible may take, None for no limit
    :param stop_grace: seconds that an interrupted one gets
    :param playbook_bin: ``ansible-playbook`` or a path
    """

    template_fields: Sequence[str] = (
        *(
            "playbook",
            "address",
            "source",
            "scope",
            "hosts",
            "inventory",
            "user",
            "key",
            "login",
            "vault_password",
        ),
        *("known_hosts", "ssh", "variables", "serial", "gate", "destroy_playbook"),
        *("cloud_conn_id", "cloud_options"),
    )
    ui_color = "#f8e4e4"
    kept_arguments = ("playbook", "source", "hosts", "inventory", "user", "known_hosts", "ssh", "variables")

    def __init__(
        self,
        *,
        playbook: str,
        address: str,
        source: str | None = None,
        scope: str = "{{ dag.dag_id }}",
        hosts: Any = None,
        inventory: Sequence[str] = (),
        user: str = "",
        key: str | None = None,
        login: str | None = None,
        vault_password: str | None = None,
        known_hosts: Sequence[str] = (),
        ssh: Mapping[str, Any] | None = None,
        variables: Mapping[str, Any] | None = None,
        serial: Sequence[int | str] = (),
        gate: Mapping[str, Any] | None = None,
        destroy_playbook: str | None = None,
        cloud: str | None = None,
        cloud_conn_id: str | None = None,
        cloud_options: Mapping[str, Any] | None = None,
        forks: int = 10,
        timeout: float | None = None,
        stop_grace: float = 30,
        playbook_bin: str = "ansible-playbook",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.playbook = playbook
        self.address = address
        self.source = source
        self.scope = scope
        self.hosts = hosts
        self.inventory = inventory
        self.user = user
        self.key = key
        self.login = login
        self.vault_password = vault_password
        self.known_hosts = known_hosts
        self.ssh = ssh or {}
        self.variables = variables or {}
        self.serial = serial
        self.gate = gate
        self.destroy_playbook = destroy_playbook
        self.cloud = cloud
        self.cloud_conn_id = cloud_conn_id
        self.cloud_options = cloud_options or {}
        self.forks = forks
        self.timeout = timeout
        self.stop_grace = stop_grace
        self.playbook_bin = playbook_bin

    def execute(self, context: Context) -> Any:
        """Do the operator's work. A retry is allowed only where it can help."""
        try:
            return self.work(context)
        except TriplaneError as error:
            kind = AirflowFailException if isinstance(error, TerminalError) else AirflowException
            raise kind(f"{self.address}: {settings.redactor()(str(error))}") from error

    def work(self, context: Context) -> Any:
        """What the task returns."""
        raise NotImplementedError

    def on_kill(self) -> None:
        """Interrupt Ansible: it ends its workers and their connections."""
        from triplane.core.process import stop_all

        stop_all()

    def playbook_file(self, playbook: str) -> Path:
        """Where the playbook is. :raises InputError: it is not there"""
        file = self.root() / playbook
        if not file.is_file():
            raise InputError(f"{playbook}: there is no such playbook in the source")
        return file.resolve()

    def root(self) -> Path:
        """The folder that paths are relative to."""
        return settings.source_dir(self.source) if self.source else Path()

    def hosts_are_known(self) -> bool:
        """False where a stack that says which they are, or what is done to them, has not been applied."""
        lookup = lookup_in(self.scope)
        missing = []
        for name in sorted(references([self.hosts, self.known_hosts, self.ssh, self.variables])):
            try:
                is_secret(name) or lookup(name)
            except KeyError:
                missing.append(name)
        if missing:
            self.log.info("%s: not known yet, a stack of this deployment makes it", ", ".join(missing))
        return not missing

    def plain(self) -> dict[str, Any]:
        """The variables without secrets, as they were written."""
        return {name: value for name, value in self.variables.items() if not holds_secret(value)}

    def written(self, playbook: str, hosts: Sequence[Host] | None) -> Written:
        """The component as it was written, for these machines."""
        from triplane.machines.plan import Written

        given = {"variables": dict(self.variables), "user": self.user, "inventory": list(self.inventory)}
        given |= {"ssh": dict(self.ssh), "known_hosts": list(self.known_hosts)}
        tree = digest_tree(self.playbook_file(playbook).parent)
        return Written(address=self.address, playbook=playbook, tree=tree, hosts=hosts, given=given)

    @contextmanager
    def opened(self, playbook: str) -> Iterator[tuple[Ansible, tuple[Host, ...]]]:
        """Ansible beside this playbook, and the machines."""
        from triplane.machines.setup import opened

        with (
            self.let_in(self.setup(playbook)) as setup,
            opened(setup, say=self.say, redactor=settings.redactor) as found,
        ):
            yield found

    @contextmanager
    def let_in(self, setup: Setup) -> Iterator[Setup]:
        """``setup`` with a key that the cloud lets in, where ``login`` says so."""
        from triplane.machines.login import OS_LOGIN, new_pair, os_login

        if self.login is None or self.cloud_conn_id is None:
            yield setup
            return
        pair = new_pair()
        settings.register_secret(pair.private)
        if self.login == "ec2_instance_connect":
            if taken := {"ProxyCommand", "ProxyJump"} & set(setup.ssh):
                raise InputError(
                    f"login: {self.login} connects by itself; remove {', '.join(sorted(taken))} from `ssh`"
                )
            yield replace(setup, key=pair.private, knock=pair.public)
            return
        from triplane.clouds import gcp
        from triplane.forge.rest import Client, bearer

        conn_id = self.cloud_conn_id
        account = gcp.account(conn_id)
        project = str(self.cloud_options.get("project") or gcp.project_id(conn_id))
        client = Client(OS_LOGIN, bearer(gcp.tokens(conn_id)))
        with os_login(client, account, project, pair.public, self.say) as user:
            yield replace(setup, key=pair.private, user=user)

    def setup(self, playbook: str) -> Setup:
        """All that a run needs, with its references resolved and its secrets masked from now on."""
        from triplane.machines import hosts
        from triplane.machines.setup import Setup

        lookup = lookup_in(self.scope)
        secrets = {name: value for name, value in self.variables.items() if holds_secret(value)}
        if bool(self.hosts) == bool(self.inventory):
            raise InputError("say which machines: give `hosts` or `inventory`, one of the two")
        if self.login and (LOGINS.get(self.login, "") != self.cloud or not self.cloud_conn_id or self.key):
            raise InputError(
                f"login: {self.login}: it is one of {', '.join(LOGINS)}, takes the connection of its cloud, and no `key`"
            )
        if holds_secret(list(self.ssh.values())):
            raise InputError("ssh: options of ssh are written into a file, and must hold no secret")
        machines = hosts.parse(resolve(self.hosts, lookup)) if self.hosts else None
        secret_hosts = holds_secret(self.hosts)
        for machine in machines if machines and secret_hosts else ():
            _register_long(machine.variables)
        return Setup(
            folder=self.playbook_file(playbook).parent,
            group=self.address.rsplit("/", 1)[-1],
            hosts=machines,
            secret_hosts=secret_hosts,
            inventory=[(self.root() / path).resolve() for path in self.inventory],
            user=self.user,
            known_hosts=_lines(resolve(self.known_hosts, lookup)),
            ssh=resolve(self.ssh, lookup),
            variables=resolve(self.plain(), lookup),
            secrets={name: _registered(value) for name, value in resolve(secrets, lookup).items()},
            key=str(resolve(self.key, lookup)).strip() + "\n" if self.key else None,
            vault_password=str(resolve(self.vault_password, lookup)) if self.vault_password else None,
            credentials=self.credentials(),
            forks=self.forks,
            timeout=self.timeout,
            grace=self.stop_grace,
            playbook_bin=self.playbook_bin,
        )

    def credentials(self) -> Mapping[str, str]:
        """The environment variables with which Ansible's plugins and ssh's proxies get into the cloud."""
        from triplane.clouds import terraform_credentials
        from triplane.machines.credentials import as_ansible

        if not self.cloud or not self.cloud_conn_id:
            return {}
        return as_ansible(terraform_credentials(self.cloud, self.cloud_conn_id, **self.cloud_options).env)

    def say(self, line: str) -> None:
        """Into the log."""
        self.log.info("%s", line)

    def kept(self) -> Kept | None:
        """What is remembered of the last run, None where nothing is."""
        from triplane.machines.kept import Kept

        try:
            return Kept.from_json(settings.artifact_store().get_named(kept_key(self.scope, self.address)))
        except InputError:
            return None

    def keep(self, kept: Kept | None) -> None:
        """Remember it, or forget all."""
        try:
            store = settings.artifact_store()
        except InputError as error:
            self.log.info("Retries and drift checks will not know of this: %s", error)
            return
        store.put_named(kept_key(self.scope, self.address), b"null" if kept is None else kept.to_json())


def kept_key(scope: str, address: str) -> str:
    """Where what is remembered is kept in the artifact store."""
    return f"machines/{scope}/{address}"


def _lines(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [line for item in value for line in _lines(item)]


def _register_long(variables: Mapping[str, Any]) -> None:
    """Mask what a secret says of a machine, but for short words, which would blank out ordinary text: unless their name
    says what they are.
    """
    from triplane.core.redact import is_secret_name

    for name, value in variables.items():
        if isinstance(value, str) and (len(value) >= LONG or is_secret_name(name)):
            settings.register_secret(value)
        elif isinstance(value, (Mapping, list)):
            _registered(value)


def _registered(value: Any) -> Any:
    """``value``, with every text in it masked from now on."""
    if isinstance(value, str):
        settings.register_secret(value)
    elif isinstance(value, Mapping):
        value = {key: _registered(item) for key, item in value.items()}
    elif isinstance(value, (list, tuple)):
        value = [_registered(item) for item in value]
    return value
