"""Functions and serverless containers as Airflow tasks: plan, and deploy exactly what was planned."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from triplane import settings
from triplane.applying import Applying
from triplane.core.digest import digest
from triplane.core.errors import InputError, RefusedError, TerminalError, TriplaneError
from triplane.core.references import references, resolve

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.change import ComponentChange, State
    from triplane.serverless.package import Package
    from triplane.serverless.target import Desired, Observed, Target

SECRETS = ("variable.", "connection.")


class Place(NamedTuple):
    """Where to deploy to; each target reads what it needs."""

    conn_id: str
    region: str | None = None
    project: str | None = None
    resource_group: str | None = None

    def need(self, name: str) -> str:
        """The value of ``name``. :raises InputError: it was not given"""
        value = getattr(self, name)
        if not value:
            raise InputError(f"this target needs `{name}`; give it to the operator")
        return str(value)


def _lambda(place: Place) -> Target:
    from triplane.clouds import aws
    from triplane.serverless.aws_lambda import AwsLambda

    return AwsLambda(aws.client("lambda", place.conn_id, place.region))


def _cloud_run(place: Place) -> Target:
    from google.cloud import run_v2

    from triplane.clouds import gcp
    from triplane.serverless.cloud_run import CloudRun

    return CloudRun(
        gcp.client(run_v2.ServicesClient, place.conn_id),
        gcp.client(run_v2.RevisionsClient, place.conn_id),
        project=place.project or gcp.project_id(place.conn_id),
        region=place.need("region"),
    )


def _azure_functions(place: Place) -> Target:
    from azure.mgmt.web import WebSiteManagementClient

    from triplane.clouds import azure
    from triplane.serverless.azure_functions import AzureFunctions

    return AzureFunctions(
        azure.client(WebSiteManagementClient, place.conn_id),
        azure.manager_tokens(place.conn_id),
        resource_group=place.need("resource_group"),
        location=place.need("region"),
        packages=lambda wanted: settings.artifact_store().get(wanted),
    )


TARGETS: dict[str, Callable[[Place], Target]] = {
    "lambda": _lambda,
    "cloud_run": _cloud_run,
    "azure_functions": _azure_functions,
}
DEFAULT_CONNECTIONS = {
    "lambda": "aws_default",
    "cloud_run": "google_cloud_default",
    "azure_functions": "azure_default",
}


class ServerlessOperator(BaseOperator):
    """What the serverless operators share; not used by itself.

    :param target: ``lambda``, ``cloud_run`` or ``azure_functions``
    :param name: the function's or service's name at the cloud
    :param path: folder of the function's code, inside the frozen source if there is one; ``.deployignore``
        in it leaves files out of the package
    :param image: ``registry/name@sha256:...`` instead of ``path``, for targets that run images
    :param environment: environment variables. May hold ``${stack.output}``, ``${variable.name}`` (an Airflow
        Variable) and ``${connection.conn_id}`` (its password)
    :param options: the target's own settings (``handler``, ``runtime``, ``role``, ``memory``, ``timeout``,
        ``port``, ...; see the target's class); may hold references too. None leaves one to the cloud
    :param conn_id: the Airflow connection to the cloud; default is the cloud's usual one
    :param region: region or location
    :param project: Google Cloud project; default is the connection's
    :param resource_group: Azure resource group
    :param source: digest of the frozen source, None for a folder of the worker
    :param address: ``<cloud>/function/<name>``
    :param scope: where stack outputs are kept: ``<environment>/<cloud>``; by default the DAG's id
    """

    template_fields: Sequence[str] = (
        *("name", "path", "image", "environment", "options"),
        *("conn_id", "region", "project", "resource_group", "source", "address", "scope"),
    )
    ui_color = "#fdebd3"

    def __init__(
        self,
        *,
        target: str,
        name: str,
        path: str | None = None,
        image: str | None = None,
        environment: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
        conn_id: str | None = None,
        region: str | None = None,
        project: str | None = None,
        resource_group: str | None = None,
        source: str | None = None,
        address: str | None = None,
        scope: str = "{{ dag.dag_id }}",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.target = target
        self.name = name
        self.path = path
        self.image = image
        self.environment = environment or {}
        self.options = options or {}
        self.conn_id = conn_id or DEFAULT_CONNECTIONS.get(target, "")
        self.region = region
        self.project = project
        self.resource_group = resource_group
        self.source = source
        self.address = address or f"{target}/function/{name}"
        self.scope = scope

    def execute(self, context: Context) -> dict[str, Any]:
        """Do the operator's work. A retry is allowed only where it can help."""
        with _airflow_errors(self.address):
            return self.work(context)

    def work(self, context: Context) -> dict[str, Any]:
        """What the task returns."""
        raise NotImplementedError

    def connect(self) -> Target:
        """The target, with a client for the connection."""
        if self.target not in TARGETS:
            raise InputError(f"{self.target!r} is not a target; use one of {', '.join(TARGETS)}")
        place = Place(
            conn_id=self.conn_id,
            region=self.region,
            project=self.project,
            resource_group=self.resource_group,
        )
        return TARGETS[self.target](place)

    def desired(self, *, image: str | None, strict: bool) -> Desired:
        """The function as it is written, with its references resolved.

        Unless ``strict``, the output of a stack that was not applied yet is ``UNKNOWN``.
        """
        from triplane.serverless.target import Desired

        options = {key: value for key, value in self.options.items() if value is not None}
        written = {"target": self.target, "environment": dict(self.environment), "options": options}
        built = self._package() if self.path else None
        artifact = built.digest if built else image
        if artifact is None:
            raise InputError(f"{self.name}: give `path` or `image`, there is nothing to run")
        lookup = settings.lookup(self.scope)
        environment = _resolved(self.environment, lookup, strict=strict)
        return Desired(
            name=self.name,
            artifact=artifact,
            config=digest(written),
            package=built.data if built else None,
            environment={key: _text(value) for key, value in environment.items()},
            options=_resolved(options, lookup, strict=strict),
        )

    def keep(self, observed: Observed | None, *, again: bool = True) -> None:
        """Remember what serves as ours, for the next drift check; None: nothing of ours is there any more.

        Unless ``again``, what was kept before stays: a plan must not take what hands changed for ours.

        A DAG of somebody's own may have no artifact store, and then no drift checks.
        """
        from triplane.serverless import drift

        try:
            store = settings.artifact_store()
        except InputError as error:
            self.log.info("%s: not kept for drift checks: %s", self.address, error)
            return
        key = drift.kept_key(self.scope, self.address)
        if not again and store.get_named(key) not in (None, b"null"):
            return
        kept = None if observed is None else drift.keep(observed)
        store.put_named(key, json.dumps(kept).encode())

    def result(self, state: State, version: str, begin: float, **details: str) -> dict[str, Any]:
        """What the task returns after work that began at ``begin``; ``version`` serves."""
        from triplane.core.change import Result

        self.log.info("%s: %s, %s serves", self.address, state, version or "nothing")
        return Result(
            address=self.address,
            version=version,
            state=state,
            seconds=time.monotonic() - begin,
            details=details,
        ).to_json()

    def _package(self) -> Package:
        from triplane.serverless import package

        root = settings.source_dir(self.source) if self.source else Path()
        return package.build(root / str(self.path))


class ServerlessPlanOperator(ServerlessOperator):
    """Say what a deployment would change, and change nothing. Returns a ``ComponentChange`` as JSON.

    What somebody changed by hand at the cloud shows too; values of environment variables never do.

    :param intent: ``destroy`` plans to delete the function, all else to deploy it (templated)
    """

    template_fields: Sequence[str] = (*ServerlessOperator.template_fields, "intent")

    def __init__(self, *, intent: str = "deploy", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.intent = intent

    def work(self, context: Context) -> dict[str, Any]:
        from triplane.serverless.target import check_options, plan, plan_to_destroy

        target = self.connect()
        if self.intent == "destroy":
            change = plan_to_destroy(self.address, self.name, target.observe(self.name))
        else:
            desired = self.desired(image=self.image, strict=False)
            check_options(target, desired)
            observed = target.observe(self.name)
            change = _redacted(plan(self.address, desired, observed))
            if not change.changed:
                self.keep(observed, again=False)
        self.log.info("%s: %s (risk %s), %s", self.address, change.action, change.risk, change.summary)
        for line in change.lines:
            self.log.info("  %s", line)
        return settings.seal(context, change)


class ServerlessDeployOperator(Applying, ServerlessOperator):
    """Deploy a function, let it serve once it is ready, and put back what served before if it is not.

    Returns a ``Result`` as JSON whose version is the one that serves. Takes the same arguments as the
    :class:`ServerlessPlanOperator` that made the change, and ``change``, ``change_set`` and ``authorization``,
    see :class:`triplane.applying.Applying`; without them it deploys what it is given.
    """

    template_fields: Sequence[str] = (*ServerlessOperator.template_fields, *Applying.approval_fields)

    def work(self, context: Context) -> dict[str, Any]:
        from triplane.serverless.target import check_options, decide

        begin = time.monotonic()
        approved = self.approved(context)
        if approved and not approved.changed:
            return self.result("unchanged", str(approved.binds["observed"]), begin)
        image = self.image or (None if self.path or not approved else str(approved.binds["artifact"]))
        desired = self.desired(image=image, strict=True)
        if approved:
            check(approved, desired)
        target = self.connect()
        check_options(target, desired)
        observed = target.observe(self.name)
        version = observed.version if observed else ""
        if decide(desired, observed, str(approved.binds["observed"]) if approved else version) == "nothing":
            self.keep(observed)
            return self.result("deployed" if approved else "unchanged", version, begin)
        return self._deploy(context, target, desired, observed, begin)

    def _deploy(
        self, context: Context, target: Target, desired: Desired, observed: Observed | None, begin: float
    ) -> dict[str, Any]:
        from triplane.serverless.target import DeployFailed

        if desired.package is not None:
            settings.artifact_store().put(desired.package)
        try:
            deployed = target.deploy(desired, observed, self._say)
            target.verify(desired, deployed)
            self.keep(target.observe(self.name))
        except DeployFailed as error:
            state: State = "rolled_back" if error.restored else "failed"
            result = self.result(state, error.restored or "", begin, error=settings.redactor()(str(error)))
            context["ti"].xcom_push(key="return_value", value=result)
            if error.restored:
                self._keep_restored(target)
            raise
        details = {**deployed.details, "previous": observed.version if observed else ""}
        return self.result("deployed", deployed.version, begin, **details)

    def _keep_restored(self, target: Target) -> None:
        """Remember what was put back; the failure that led to it counts more than whether that can be read."""
        try:
            self.keep(target.observe(self.name))
        except TriplaneError as error:
            self._say(f"{self.address}: what serves now could not be read: {error}")

    def _say(self, line: str) -> None:
        self.log.info("%s", settings.redactor()(line))


class ServerlessDeleteOperator(Applying, ServerlessOperator):
    """Delete a function, with all its versions. One that is gone already is fine.

    Takes the same arguments as the :class:`ServerlessPlanOperator` with ``intent="destroy"`` that made the
    change. Returns a ``Result`` as JSON.
    """

    template_fields: Sequence[str] = (*ServerlessOperator.template_fields, *Applying.approval_fields)

    def work(self, context: Context) -> dict[str, Any]:
        from triplane.serverless.target import check_destroys

        begin = time.monotonic()
        approved = self.approved(context)
        if approved and not approved.changed:
            return self.result("unchanged", "", begin)
        target = self.connect()
        observed = target.observe(self.name)
        if approved:
            check_destroys(approved, self.name, observed)
        if observed is not None:
            target.delete(self.name)
        self.keep(None)
        return self.result("destroyed", "", begin)


def check(approved: ComponentChange, desired: Desired) -> None:
    """:raises RefusedError: what would be deployed is not what was approved"""
    from triplane.serverless.target import binds

    actual = binds(desired)
    differing = sorted(name for name, value in actual.items() if approved.binds.get(name) != value)
    if differing:
        raise RefusedError(
            f"{desired.name}: {' and '.join(differing)} not as approved "
            f"({', '.join(f'{name} {actual[name]}' for name in differing)}); plan again"
        )


def _resolved(values: Mapping[str, Any], lookup: Callable[[str], Any], *, strict: bool) -> dict[str, Any]:
    from triplane.serverless.target import UNKNOWN

    found: dict[str, Any] = {}
    for key, value in values.items():
        try:
            found[key] = resolve(value, lookup)
        except InputError:
            if strict or any(name.startswith(SECRETS) for name in references(value)):
                raise
            found[key] = UNKNOWN
    return found


def _text(value: Any) -> Any:
    from triplane.serverless.target import UNKNOWN

    return value if isinstance(value, str) or value is UNKNOWN else json.dumps(value)


def _redacted(change: ComponentChange) -> ComponentChange:
    redact = settings.redactor()
    return replace(change, lines=tuple(redact(line) for line in change.lines))


@contextmanager
def _airflow_errors(address: str) -> Iterator[None]:
    try:
        yield
    except TriplaneError as error:
        kind = AirflowFailException if isinstance(error, TerminalError) else AirflowException
        raise kind(f"{address}: {settings.redactor()(str(error))}") from error
