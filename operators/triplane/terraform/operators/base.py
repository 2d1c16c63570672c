"""What all Terraform operators share."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from triplane import settings
from triplane.core.digest import digest
from triplane.core.errors import InputError, TerminalError, TriplaneError
from triplane.core.references import holds_secret, resolve
from triplane.secrets.references import lookup_in

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.clouds import Credentials
    from triplane.terraform.binary import Binary
    from triplane.terraform.cli import Terraform
    from triplane.terraform.plan import State
    from triplane.terraform.stack import Planned, Source, Stack


class TerraformOperator(BaseOperator):
    """What all Terraform operators share; not used by itself.

    :param path: the stack's folder. Inside the frozen source if there is one; else a folder of the worker,
        where ``/srv/infra//network`` makes the rest of ``/srv/infra`` (modules) available to the stack
    :param source: digest of the frozen source, None for a folder of the worker
    :param address: ``<cloud>/stack/<name>``; by default made of the folder's name
    :param scope: where outputs and the ledger are kept: ``<environment>/<cloud>``; by default the DAG's id
    :param variables: Terraform's variables. May hold ``${stack.output}``, ``${variable.name}`` (an Airflow
        Variable) and ``${connection.conn_id}`` (its password); the latter two are passed in the environment
    :param backend: settings of the state backend, see :func:`triplane.terraform.backends.backend_config`;
        None if the HCL says it all, or for a local state beside the source
    :param cloud: ``aws``, ``gcp`` or ``azure``: gives Terraform credentials, and the backend its form
    :param cloud_conn_id: the Airflow connection to that cloud
    :param cloud_options: for the credentials, such as ``{"region": "eu-west-1"}``
    :param terraform_bin: ``terraform``, ``tofu``, a path, or ``bundled`` for the Terraform of the extra ``[terraform]``;
        None for what ``[triplane] terraform_bin`` says, else see :func:`triplane.terraform.binary.find`
    :param required_version: versions of it that may run: ``~> 1.9``
    :param policies: a folder of Rego policies inside the source, see :mod:`triplane.terraform.policy`
    :param lock_timeout: seconds to wait for a state that somebody else has locked
    :param init_timeout: seconds that ``init`` may take: it can hang where a backend does not answer
    :param command_timeout: seconds that one call of Terraform may take, None for no limit
    :param stop_grace: seconds that an interrupted Terraform gets to save the state
    :param max_plan_bytes: how large a plan may be, as JSON
    :param credential_lifetime: seconds that the cloud's credentials must last when an apply begins; they are
        renewed if they would not, and if that does not help nothing is begun
    """

    template_fields: Sequence[str] = (
        *("path", "source", "address", "scope", "variables", "backend"),
        *("cloud_conn_id", "cloud_options"),
    )
    ui_color = "#e8e4f8"
    goes_on = False
    """Whether a retry knows what to do with a stack that is half done."""

    def __init__(
        self,
        *,
        path: str,
        source: str | None = None,
        address: str | None = None,
        scope: str = "{{ dag.dag_id }}",
        variables: Mapping[str, Any] | None = None,
        backend: Mapping[str, Any] | None = None,
        cloud: str | None = None,
        cloud_conn_id: str | None = None,
        cloud_options: Mapping[str, Any] | None = None,
        terraform_bin: str | None = None,
        required_version: str | None = None,
        policies: str | None = None,
        lock_timeout: float = 300,
        init_timeout: float = 300,
        command_timeout: float | None = None,
        stop_grace: float = 600,
        max_plan_bytes: int = 100_000_000,
        credential_lifetime: float = 900,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.source = source
        self.address = address or f"{cloud or 'local'}/stack/{path.rstrip('/').rsplit('/', 1)[-1]}"
        self.scope = scope
        self.variables = variables or {}
        self.backend = backend
        self.cloud = cloud
        self.cloud_conn_id = cloud_conn_id
        self.cloud_options = cloud_options or {}
        self.terraform_bin = terraform_bin
        self.required_version = required_version
        self.policies = policies
        self.lock_timeout = lock_timeout
        self.init_timeout = init_timeout
        self.command_timeout = command_timeout
        self.stop_grace = stop_grace
        self.max_plan_bytes = max_plan_bytes
        self.credential_lifetime = credential_lifetime
        self._found: Credentials | None = None
        self._binary: Binary | None = None

    def execute(self, context: Context) -> Any:
        """Do the operator's work. A retry is allowed only where it can help."""
        from triplane.terraform.cli import ApplyError

        try:
            return self.work(context)
        except TriplaneError as error:
            begun = isinstance(error, ApplyError) and error.events.started and not self.goes_on
            if begun or isinstance(error, TerminalError):
                raise AirflowFailException(f"{self.address}: {error}") from error
            raise AirflowException(f"{self.address}: {error}") from error
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            room = f"make room in {error.filename or 'its temporary directory'}"
            raise AirflowException(f"{self.address}: this worker's disk is full; {room}") from error

    def work(self, context: Context) -> Any:
        """What the task returns."""
        raise NotImplementedError

    def on_kill(self) -> None:
        """Interrupt Terraform: it saves the state and frees the lock."""
        from triplane.core.process import stop_all

        stop_all()

    def stack_source(self) -> Source:
        """Where the stack's HCL is."""
        from triplane.terraform.stack import Source
        from triplane.terraform.workspace import split

        if self.source:
            root, stack = settings.source_dir(self.source), self.path
        else:
            root, stack = split(self.path)
        return Source(root=root, stack=stack, frozen=self.source or None, policies=self.policies)

    def opened(
        self, source: Source, secrets: Mapping[str, str], *, lock: bytes | None = None
    ) -> AbstractContextManager[Stack]:
        """The stack in an initialized working copy."""
        from triplane.terraform.arguments import environment
        from triplane.terraform.backends import backend_config
        from triplane.terraform.cli import Terraform

        env, binary = environment(secrets), self.binary()

        def terraform(directory: Path) -> Terraform:
            return Terraform(
                directory=directory,
                env=env,
                credentials=self.credentials,
                apply_seconds=self.credential_lifetime,
                binary=binary,
                required_version=self.required_version,
                say=self.log.info,
                redactor=settings.redactor,
                hide=settings.register_secret,
                lock_timeout=self.lock_timeout,
                timeout=self.command_timeout,
                init_timeout=self.init_timeout,
                grace=self.stop_grace,
                max_plan_bytes=self.max_plan_bytes,
            )

        region = self.cloud_options.get("region")
        backend = backend_config(self.cloud, self.backend, region=region) if self.backend else None
        return source.open(terraform, backend, lock=lock)

    def secret_variables(self) -> dict[str, str]:
        """Variables that hold a secret, resolved and masked from now on."""
        secret = {name: value for name, value in self.variables.items() if holds_secret(value)}
        values = resolve(secret, lookup_in(self.scope))
        return {
            name: settings.register_secret(value if isinstance(value, str) else json.dumps(value))
            for name, value in values.items()
        }

    def plain_variables(self) -> dict[str, Any]:
        """All other variables, resolved."""
        plain = {name: value for name, value in self.variables.items() if not holds_secret(value)}
        return dict(resolve(plain, lookup_in(self.scope)))

    def make_plan(self, stack: Stack, *, destroy: bool) -> Planned:
        """Plan, and log the plan, one line per change."""
        from triplane.terraform.summary import change_lines

        planned = stack.make_plan(self.plain_variables(), destroy=destroy)
        for line in change_lines(planned.plan):
            self.log.info("  %s", line)
        for text in planned.verdict.denied:
            self.log.warning("%s: denied by policy: %s", self.address, text)
        return planned

    def put_outputs(self, state: State) -> None:
        """Hand the stack's real outputs to whoever refers to them."""
        for name in state.sensitive:
            if isinstance(value := state.outputs.get(name), str):
                settings.register_secret(value)
        settings.put_outputs(self.scope, self.address.rsplit("/", 1)[-1], state.outputs)

    def inputs(self, source: Source, *, destroy: bool) -> dict[str, str | int]:
        """Digests of all that a plan is made of besides the state: an approval binds them."""
        from triplane.terraform.stack import variables_digest

        return {
            "source": source.digest(),
            "variables": variables_digest(self.variables, destroy=destroy),
            "backend": digest(dict(self.backend or {})),
        }

    def binary(self) -> Binary:
        """The Terraform or OpenTofu that runs; looked up once. :raises InputError: there is none"""
        from triplane.terraform.binary import find

        if self._binary is None:
            self._binary = find(self.terraform_bin or settings.terraform_bin())
        return self._binary

    def credentials(self, seconds: float = 0) -> Mapping[str, str]:
        """The environment variables with which Terraform gets into the cloud, for ``seconds`` at least.

        :raises InputError: even fresh ones end before that
        """
        from triplane.clouds import terraform_credentials

        if not self.cloud or not self.cloud_conn_id:
            return {}
        if self._found is None or self._found.left < seconds:
            self._found = terraform_credentials(self.cloud, self.cloud_conn_id, **self.cloud_options)
        if self._found.left < seconds:
            raise InputError(
                f"the credentials of connection {self.cloud_conn_id} end in {self._found.left / 60:.0f} minutes, and an "
                f"apply needs {seconds / 60:.0f} (`credential_lifetime`). Nothing was begun; let the connection's role "
                "or token last longer, or ask for less where the apply is short"
            )
        return self._found.env
