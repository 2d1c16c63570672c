"""What the operators of functions and serverless containers share."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, BaseOperatorLink

from triplane import settings
from triplane.core.digest import digest
from triplane.core.errors import InputError
from triplane.secrets.references import lookup_in
from triplane.serverless.airflow import airflow_errors, resolved
from triplane.serverless.links import CONSOLE_URL, ConsoleLink

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.change import State
    from triplane.serverless.target import Desired, Observed, Smoke, Target, Waiting
    from triplane.serverless.targets import Place
    from triplane.serverless.traffic import Traffic

PATIENCE_SECONDS = 8.0
"""So long a task waits itself; what takes longer waits in the triggerer."""
LONGEST_WAIT_SECONDS = 60.0
DEFAULT_CONNECTIONS = {
    "lambda": "aws_default",
    "fargate": "aws_default",
    "cloud_run": "google_cloud_default",
    "cloud_functions": "google_cloud_default",
    "azure_functions": "azure_default",
    "container_apps": "azure_default",
}


class ServerlessOperator(BaseOperator):
    """What the serverless operators share; not used by itself.

    :param target: a name of :data:`triplane.serverless.targets.TARGETS`
    :param name: the function's or service's name at the cloud
    :param path: folder of the function's code, inside the frozen source if there is one; ``.deployignore``
        in it leaves files out of the package
    :param image: ``registry/name@sha256:...`` instead of ``path``, for targets that run images
    :param dependencies: whether what ``requirements.txt`` or ``pyproject.toml`` in the folder names is installed into
        the package, for the target's platform
    :param environment: environment variables. May hold ``${stack.output}``, ``${variable.name}`` (an Airflow
        Variable) and ``${connection.conn_id}`` (its password)
    :param options: the target's own settings (``handler``, ``runtime``, ``role``, ``memory``, ``timeout``,
        ``port``, ...; see the target's class); may hold references too. None leaves one to the cloud
    :param traffic: how the traffic goes over to a new version, ``{"strategy": "canary", "steps": [10, 50], "wait":
        60}``, see :class:`triplane.serverless.traffic.Traffic`; by default all at once
    :param smoke: a request to each new version before it gets traffic, and between two steps, and what it must answer;
        see :class:`triplane.serverless.target.Smoke`
    :param gate: checks that judge each step of the traffic, the last one too, as
        :class:`triplane.gates.sensors.GateSensor` takes them; one that does not pass puts back what served before.
        ``${gate.name}``, ``${gate.version}`` and ``${gate.previous}`` in a query are the function's name at the cloud, the
        new version, and the one that served before
    :param ask: who is asked where checks with ``no_data: ask`` have no data, as the same sensor takes it
    :param limit: seconds that a version may take to become ready
    :param conn_id: the Airflow connection to the cloud; default is the cloud's usual one
    :param region: region or location
    :param project: Google Cloud project; default is the connection's
    :param resource_group: Azure resource group
    :param source: digest of the frozen source, None for a folder of the worker
    :param revision: the commit, recorded as a label; default is that of the approved change set
    :param deferrable: false waits in the worker
    :param address: ``<cloud>/function/<name>``
    :param scope: where stack outputs are kept: ``<environment>/<cloud>``; by default the DAG's id
    """

    template_fields: Sequence[str] = (
        *("name", "path", "image", "environment", "options", "traffic", "smoke", "gate", "ask"),
        *("conn_id", "region", "project", "resource_group", "source", "revision", "address", "scope"),
    )
    operator_extra_links: Sequence[BaseOperatorLink] = (ConsoleLink(),)
    ui_color = "#fdebd3"

    def __init__(
        self,
        *,
        target: str,
        name: str,
        path: str | None = None,
        image: str | None = None,
        dependencies: bool = False,
        environment: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
        traffic: Mapping[str, Any] | None = None,
        smoke: Mapping[str, Any] | None = None,
        gate: Sequence[Mapping[str, Any]] | None = None,
        ask: Mapping[str, Any] | None = None,
        limit: float = 900.0,
        conn_id: str | None = None,
        region: str | None = None,
        project: str | None = None,
        resource_group: str | None = None,
        source: str | None = None,
        revision: str | None = None,
        deferrable: bool = True,
        address: str | None = None,
        scope: str = "{{ dag.dag_id }}",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.target = target
        self.name = name
        self.path = path
        self.image = image
        self.dependencies = dependencies
        self.environment = environment or {}
        self.options = options or {}
        self.traffic = traffic
        self.smoke = smoke
        self.gate = gate or ()
        self.ask = ask or {}
        self.limit = limit
        self.conn_id = conn_id or DEFAULT_CONNECTIONS.get(target, "")
        self.region = region
        self.project = project
        self.resource_group = resource_group
        self.source = source
        self.revision = revision
        self.deferrable = deferrable
        self.address = address or f"{target}/function/{name}"
        self.scope = scope

    def execute(self, context: Context) -> dict[str, Any]:
        """Do the operator's work. A retry is allowed only where it can help."""
        with airflow_errors(self.address):
            return self.work(context)

    def go_on(self, context: Context, event: Any = None) -> dict[str, Any]:
        """The same after a wait: the work looks at what is there and goes on with that."""
        return self.execute(context)

    def work(self, context: Context) -> dict[str, Any]:
        """What the task returns."""
        raise NotImplementedError

    def connect(self, *, strict: bool = True) -> Target:
        """The target, with a client for the connection; unless ``strict``, without a cluster that is not known yet.

        :raises InputError: its cluster is the output of a stack still to be applied
        """
        from triplane.serverless.target import UNKNOWN

        cluster = self._cluster(strict=strict)
        return self._connected(None if cluster is UNKNOWN else cluster)

    def look(self) -> tuple[Target, Observed | None]:
        """The target and what serves there: nothing where its cluster is the output of a stack still to be applied."""
        from triplane.serverless.target import UNKNOWN

        cluster = self._cluster(strict=False)
        if cluster is UNKNOWN:
            return self._connected(None), None
        target = self._connected(cluster)
        return target, target.observe(self.name)

    def _connected(self, cluster: Any) -> Target:
        from triplane.serverless.targets import connect

        return connect(self.target, self._place()._replace(cluster=cluster))

    def _cluster(self, *, strict: bool) -> Any:
        written = {"cluster": self.options.get("cluster")}
        return resolved(written, lookup_in(self.scope), strict=strict)["cluster"]

    def link(self, context: Context) -> None:
        """Let people follow the task to the cloud's console."""
        from triplane.serverless.links import console_url

        if "ti" in context:
            url = console_url(self.target, self.name, self._place(), self.options)
            context["ti"].xcom_push(key=CONSOLE_URL, value=url)

    def desired(self, *, image: str | None, strict: bool, built: str | None = None) -> Desired:
        """The function as it is written, with its references resolved.

        Unless ``strict``, the output of a stack that was not applied yet is ``UNKNOWN``. ``built`` is the digest of a
        package that was made and kept before.
        """
        from triplane.serverless.target import Desired

        options = {key: value for key, value in self.options.items() if value is not None}
        written = {"target": self.target, "environment": dict(self.environment), "options": options}
        package = self._package(built) if self.path else None
        artifact = digest(package) if package is not None else image
        if artifact is None:
            raise InputError(f"{self.name}: give `path` or `image`, there is nothing to run")
        lookup = lookup_in(self.scope)
        environment = resolved(self.environment, lookup, strict=strict)
        return Desired(
            name=self.name,
            artifact=artifact,
            config=digest(written),
            package=package,
            environment={key: _text(value) for key, value in environment.items()},
            options=resolved(options, lookup, strict=strict),
        )

    def how(self) -> tuple[Traffic, Smoke | None]:
        """How the traffic goes over, and what a new version is asked, as written."""
        from triplane.serverless.target import Smoke
        from triplane.serverless.traffic import Traffic

        smoke = None if self.smoke is None else Smoke(**self.smoke)
        return Traffic.from_json(self.traffic), smoke

    def question(self) -> Smoke | None:
        """The smoke test with its references resolved; secrets in it are masked from here on."""
        from triplane.serverless.target import Smoke

        if self.smoke is None:
            return None
        return Smoke(**resolved(self.smoke, lookup_in(self.scope), strict=True))

    def pause(self, waiting: Waiting, patience: float, **kwargs: Any) -> None:
        """Wait here while ``patience`` (of ``time.monotonic()``) lasts, else let go of the worker and be called again.

        ``kwargs`` go to :meth:`go_on`.
        """
        left = patience - time.monotonic()
        if not self.deferrable or waiting.seconds <= left:
            time.sleep(waiting.seconds)
            return
        from triplane.serverless.triggers import MomentTrigger

        self.log.info("%s: %s; the next look is in %.0f s", self.address, waiting.why, waiting.seconds)
        trigger = MomentTrigger(time.time() + waiting.seconds)
        self.defer(trigger=trigger, method_name="go_on", kwargs=kwargs)

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

    def say(self, line: str) -> None:
        """Log ``line``, redacted."""
        self.log.info("%s", settings.redactor()(line))

    def _place(self) -> Place:
        from triplane.serverless.targets import Place, complete

        return complete(self.target, Place(self.conn_id, self.region, self.project, self.resource_group))

    def _package(self, built: str | None) -> bytes:
        from triplane.serverless import package
        from triplane.serverless.targets import runtime_platforms

        if built is not None:
            return settings.artifact_store().get(built)
        root = settings.source_dir(self.source) if self.source else Path()
        platforms, python = runtime_platforms(self.target, self.options) if self.dependencies else ((), "")
        return package.build(
            root / str(self.path), platform=platforms or None, python=python, log=self.say
        ).data


def _text(value: Any) -> Any:
    from triplane.serverless.target import UNKNOWN

    return value if isinstance(value, str) or value is UNKNOWN else json.dumps(value)
