"""Terraform as Airflow tasks: plan, apply exactly that plan once, and look for drift."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from triplane import clouds, settings
from triplane.core.digest import digest
from triplane.core.errors import InputError, TerminalError, TriplaneError
from triplane.core.references import resolve

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.change import ComponentChange
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
    :param terraform_bin: ``terraform``, ``tofu`` or a path
    :param lock_timeout: seconds to wait for a state that somebody else has locked
    :param command_timeout: seconds that one call of Terraform may take, None for no limit
    :param stop_grace: seconds that an interrupted Terraform gets to save the state
    """

    template_fields: Sequence[str] = (
        *("path", "source", "address", "scope", "variables", "backend"),
        *("cloud_conn_id", "cloud_options"),
    )
    ui_color = "#e8e4f8"

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
        terraform_bin: str = "terraform",
        lock_timeout: float = 300,
        command_timeout: float | None = None,
        stop_grace: float = 600,
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
        self.lock_timeout = lock_timeout
        self.command_timeout = command_timeout
        self.stop_grace = stop_grace

    def execute(self, context: Context) -> dict[str, Any]:
        """Do the operator's work. A retry is allowed only where it can help."""
        from triplane.terraform.cli import ApplyError

        try:
            return self.work(context)
        except TriplaneError as error:
            begun = isinstance(error, ApplyError) and error.started
            if begun or isinstance(error, TerminalError):
                raise AirflowFailException(f"{self.address}: {error}") from error
            raise AirflowException(f"{self.address}: {error}") from error

    def work(self, context: Context) -> dict[str, Any]:
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
            return Source(root=settings.source_dir(self.source), stack=self.path, frozen=self.source)
        root, stack = split(self.path)
        return Source(root=root, stack=stack)

    def opened(
        self, source: Source, secrets: Mapping[str, str], *, lock: bytes | None = None
    ) -> AbstractContextManager[Stack]:
        """The stack in an initialized working copy."""
        from triplane.terraform.backends import backend_config
        from triplane.terraform.cli import Terraform, environment

        env = environment(self._credentials(), secrets)

        def terraform(directory: Path) -> Terraform:
            return Terraform(
                directory=directory,
                env=env,
                binary=self.terraform_bin,
                say=self.log.info,
                redactor=settings.redactor,
                hide=settings.register_secret,
                lock_timeout=self.lock_timeout,
                timeout=self.command_timeout,
                grace=self.stop_grace,
            )

        region = self.cloud_options.get("region")
        backend = backend_config(self.cloud, self.backend, region=region) if self.backend else None
        return source.open(terraform, backend, lock=lock)

    def secret_variables(self) -> dict[str, str]:
        """Variables that hold a secret, resolved and masked from now on."""
        from triplane.terraform.stack import is_secret

        secret = {name: value for name, value in self.variables.items() if is_secret(value)}
        values = resolve(secret, settings.lookup(self.scope))
        return {
            name: settings.register_secret(value if isinstance(value, str) else json.dumps(value))
            for name, value in values.items()
        }

    def plain_variables(self) -> dict[str, Any]:
        """All other variables, resolved."""
        from triplane.terraform.stack import is_secret

        plain = {name: value for name, value in self.variables.items() if not is_secret(value)}
        return dict(resolve(plain, settings.lookup(self.scope)))

    def make_plan(self, stack: Stack, *, destroy: bool) -> Planned:
        """Plan, and log the plan, one line per change."""
        planned = stack.make_plan(self.plain_variables(), destroy=destroy)
        for line in planned.plan.lines():
            self.log.info("  %s", line)
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

    def _credentials(self) -> dict[str, str]:
        if not self.cloud or not self.cloud_conn_id:
            return {}
        return clouds.terraform_env(self.cloud, self.cloud_conn_id, **self.cloud_options)


class TerraformPlanOperator(TerraformOperator):
    """Plan a stack, keep the saved plan encrypted, and return the change (``ComponentChange`` as JSON).

    If a stack that this one reads outputs from has pending changes, this one is not planned yet: its action
    is ``deferred``, and its risk the most that it may do without asking again (see
    :func:`triplane.terraform.risk.ceiling`).

    :param after: results of the plans that this stack depends on: name -> change (templated)
    :param destroy: plan to destroy the stack
    """

    template_fields: Sequence[str] = (*TerraformOperator.template_fields, "after")

    def __init__(
        self, *, after: Mapping[str, Any] | None = None, destroy: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.after = after or {}
        self.destroy = destroy

    def work(self, context: Context) -> dict[str, Any]:
        """Plan, or defer the planning."""
        source = self.stack_source()
        binds = self.inputs(source, destroy=self.destroy)
        pending = [name for name, value in self.after.items() if _pending(value)]
        with self.opened(source, {} if pending else self.secret_variables()) as stack:
            change = self._deferred(stack, pending, binds) if pending else self._planned(stack, binds)
        self.log.info("%s: %s, %s risk", self.address, change.summary, change.risk)
        return settings.seal(context, change)

    def _planned(self, stack: Stack, binds: dict[str, str | int]) -> ComponentChange:
        from triplane.core.change import ComponentChange

        planned = self.make_plan(stack, destroy=self.destroy)
        binds |= {"lineage": planned.state.lineage, "serial": planned.state.serial}
        if planned.changed:
            binds |= stack.keep(planned, settings.artifact_store())
        else:
            self.put_outputs(planned.state)
        return ComponentChange(
            address=self.address,
            action=planned.action,
            risk=planned.risk,
            summary=planned.summary,
            lines=planned.plan.lines() if planned.changed else (),
            binds=binds,
        )

    def _deferred(self, stack: Stack, pending: Sequence[str], binds: dict[str, str | int]) -> ComponentChange:
        from triplane.core.change import ComponentChange

        state = stack.terraform.pull()
        ceiling = stack.ceiling(state)
        names = " and ".join(pending)
        binds |= {"ceiling": str(ceiling), "lineage": state.lineage, "serial": state.serial}
        return ComponentChange(
            address=self.address,
            action="deferred",
            risk=ceiling,
            summary=f"planned after {names} {'is' if len(pending) == 1 else 'are'} applied, on real outputs",
            lines=(f"? {self.address}: at most {ceiling} risk, else it is refused and asked for again",),
            binds=binds,
        )


class TerraformApplyOperator(TerraformOperator):
    """Apply an approved plan: that plan, once, on the state it was made for. Returns a ``Result`` as JSON.

    Takes the same arguments as the :class:`TerraformPlanOperator` that made the change.

    :param change: the change to apply, as the plan operator returned it (templated); for DAGs without approval
    :param change_set: digest of the approved change set, instead of ``change`` (templated)
    :param authorization: the signed decisions on the change set (templated)
    :param destroy: as given to the plan operator
    """

    template_fields: Sequence[str] = (
        *TerraformOperator.template_fields,
        *("change", "change_set", "authorization"),
    )

    def __init__(
        self,
        *,
        change: Any = None,
        change_set: str | None = None,
        authorization: Any = None,
        destroy: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.change = change
        self.change_set = change_set
        self.needs_approval = change_set is not None or authorization is not None
        self.authorization = authorization
        self.destroy = destroy

    def work(self, context: Context) -> dict[str, Any]:
        """Check the approval against what is here, then apply."""
        from triplane.terraform.apply import Attempt, apply
        from triplane.terraform.plan import State
        from triplane.terraform.stack import check_binds

        started = time.monotonic()
        approved = settings.approved_change(context, self)
        if approved is None:
            raise InputError("there is no plan to apply; give `change` or `change_set`")
        if not approved.changed:
            state = State(serial=int(approved.binds.get("serial", 0)))
            return self._result(approved.summary, state, started, changed=False)
        source = self.stack_source()
        check_binds(approved, self.inputs(source, destroy=self.destroy))
        run = context["dag_run"]
        attempt = Attempt.at(approved, address=self.address, run=f"{run.dag_id}/{run.run_id}")
        store = settings.artifact_store()
        lock = store.get(str(approved.binds["lock"])) if "lock" in approved.binds else None
        with self.opened(source, self.secret_variables(), lock=lock) as stack:
            state, summary = apply(
                stack,
                approved,
                attempt,
                ledger=settings.ledger(self.scope),
                store=store,
                make_plan=lambda: self.make_plan(stack, destroy=self.destroy),
            )
        self.put_outputs(state)
        return self._result(summary, state, started, changed=state.serial != approved.binds["serial"])

    def _result(self, summary: str, state: State, started: float, *, changed: bool) -> dict[str, Any]:
        from triplane.core.change import Result

        result = Result(
            address=self.address,
            version=f"serial {state.serial}",
            state="deployed" if changed else "unchanged",
            seconds=time.monotonic() - started,
            details={"summary": summary},
        )
        self.log.info("%s: %s, %s (%s)", self.address, result.state, result.version, summary)
        return result.to_json()


class TerraformDriftOperator(TerraformOperator):
    """Compare a stack's state with the real resources, changing neither.

    Returns ``{"address", "state", "resources"}``: state is ``in_sync``, ``drifted``, or ``unknown`` for a stack
    that was never applied; resources are ``{"address", "action", "attributes": [{"name", "before", "after"}]}``
    with redacted values. A check that could not run fails the task: it never says ``in_sync``.
    """

    def work(self, context: Context) -> dict[str, Any]:
        """Refresh only."""
        with self.opened(self.stack_source(), self.secret_variables()) as stack:
            planned = stack.make_plan(self.plain_variables(), refresh_only=True)
        drift = planned.plan.drift
        state = "unknown" if not planned.state.lineage else "drifted" if drift else "in_sync"
        for change in drift:
            self.log.warning("%s: drifted: %s", self.address, change.line())
        self.log.info("%s: %s", self.address, state)
        resources = [
            {
                "address": change.address,
                "action": change.action,
                "attributes": [vars(attribute) for attribute in change.attributes],
            }
            for change in drift
        ]
        return {"address": self.address, "state": state, "resources": resources}


def _pending(value: Any) -> bool:
    change = settings.read_change(value)
    return change is not None and change.changed
