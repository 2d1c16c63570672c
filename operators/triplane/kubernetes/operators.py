"""Helm releases as Airflow tasks: plan, deploy exactly what was planned, and compare what serves."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from triplane import settings
from triplane.core.digest import digest_tree
from triplane.core.errors import InputError, RefusedError, TerminalError, ToolError, TriplaneError
from triplane.core.references import resolve

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.change import ComponentChange
    from triplane.kubernetes import kubectl
    from triplane.kubernetes.deploy import Deployment
    from triplane.kubernetes.helm import Helm, Observed
    from triplane.kubernetes.plan import Written

IMAGE = "image."


class HelmOperator(BaseOperator):
    """What the Helm operators share; not used by itself.

    :param path: the chart's folder, inside the frozen source if there is one
    :param release: name of the release; default is the chart folder's name
    :param namespace: its namespace, made if it is missing
    :param values: the chart's values. May hold ``${stack.output}``, ``${variable.name}`` (an Airflow
        Variable) and ``${connection.conn_id}`` (its password)
    :param images: key in the values -> ``host/repository@sha256:…``; ``<key>.repository`` and
        ``<key>.digest`` are set
    :param cloud: ``aws``, ``gcp``, ``azure``, or ``kubernetes`` for a connection of that type
    :param conn_id: the Airflow connection to that cloud
    :param cluster: name of the cluster; may be a ``${stack.output}``
    :param region: region (AWS) or location (Google Cloud) of the cluster
    :param project: Google Cloud project; default is the connection's
    :param resource_group: Azure resource group of the cluster
    :param source: digest of the frozen source, None for a folder of the worker
    :param address: ``<cloud>/chart/<name>``; by default made of the release's name
    :param scope: where stack outputs are kept: ``<environment>/<cloud>``; by default the DAG's id
    :param timeout: seconds until a release that does not become ready is rolled back
    :param helm_bin: ``helm`` (version 3.13 or later, or 4) or a path
    :param kubectl_bin: ``kubectl`` or a path
    """

    template_fields: Sequence[str] = (
        *("path", "release", "namespace", "values", "images", "source", "address", "scope"),
        *("conn_id", "cluster", "region", "project", "resource_group"),
    )
    ui_color = "#dce6fb"

    def __init__(
        self,
        *,
        path: str,
        release: str | None = None,
        namespace: str = "default",
        values: Mapping[str, Any] | None = None,
        images: Mapping[str, str] | None = None,
        cloud: str = "kubernetes",
        conn_id: str = "kubernetes_default",
        cluster: str = "",
        region: str | None = None,
        project: str | None = None,
        resource_group: str | None = None,
        source: str | None = None,
        address: str | None = None,
        scope: str = "{{ dag.dag_id }}",
        timeout: float = 300,
        helm_bin: str = "helm",
        kubectl_bin: str = "kubectl",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.release = release or path.rstrip("/").rsplit("/", 1)[-1]
        self.namespace = namespace
        self.values = values or {}
        self.images = images or {}
        self.cloud = cloud
        self.conn_id = conn_id
        self.cluster = cluster
        self.region = region
        self.project = project
        self.resource_group = resource_group
        self.source = source
        self.address = address or f"{cloud}/chart/{self.release}"
        self.scope = scope
        self.timeout = timeout
        self.helm_bin = helm_bin
        self.kubectl_bin = kubectl_bin

    def execute(self, context: Context) -> dict[str, Any]:
        """Do the operator's work. A retry is allowed only where it can help."""
        with airflow_errors(self.address):
            return self.work(context)

    def work(self, context: Context) -> dict[str, Any]:
        """What the task returns."""
        raise NotImplementedError

    def on_kill(self) -> None:
        """Stop Helm; it marks the release as failed."""
        from triplane.core.process import stop_all

        stop_all()

    def chart(self) -> Path:
        """The chart's folder."""
        chart = (settings.source_dir(self.source) if self.source else Path()) / self.path
        if not (chart / "Chart.yaml").is_file():
            raise InputError(f"there is no chart in {self.path}: it has no Chart.yaml")
        return chart

    def written(self, images: Mapping[str, str]) -> Written:
        """The release as it was written."""
        from triplane.kubernetes.helm import Release
        from triplane.kubernetes.plan import Image, Written

        return Written(
            release=Release(self.release, self.namespace),
            cluster=f"{self.cloud}/{self.cluster or self.conn_id}",
            chart=digest_tree(self.chart()),
            values=self.values,
            images={key: Image.parse(reference) for key, reference in images.items()},
        )

    @contextmanager
    def opened(self) -> Iterator[Helm]:
        """Helm, talking to the cluster."""
        from triplane.clouds.kubeconfig import kubeconfig
        from triplane.kubernetes.helm import Helm

        options = {"region": self.region, "project": self.project, "resource_group": self.resource_group}
        cluster = resolve(self.cluster, settings.lookup(self.scope))
        with kubeconfig(self.cloud, self.conn_id, cluster, **options) as path:
            yield Helm(path, self.helm_bin, say=self.log.info, redact=lambda text: settings.redactor()(text))


class HelmPlanOperator(HelmOperator):
    """Say what an upgrade of a Helm release would change, and change nothing.

    Returns a ``ComponentChange`` as JSON: ``create`` where there is no release, or no cluster yet; ``none``
    where the release serves this chart with these values and images already.
    """

    def work(self, context: Context) -> dict[str, Any]:
        from triplane.kubernetes.plan import plan

        written = self.written(self.images)
        change = plan(
            self.address, written, self._observe(), settings.lookup(self.scope), settings.redactor()
        )
        self.log.info("%s: %s (risk %s), %s", self.address, change.action, change.risk, change.summary)
        for line in change.lines:
            self.log.info("  %s", line)
        return settings.seal(context, change)

    def _observe(self) -> Observed:
        from triplane.clouds.kubeconfig import ClusterNotFound
        from triplane.kubernetes.helm import Observed, Release

        try:
            resolve(self.cluster, settings.lookup(self.scope))
        except InputError:
            self.log.info("%s is not known yet: a stack of this deployment makes the cluster", self.cluster)
            return Observed()
        try:
            with self.opened() as helm:
                return helm.observe(Release(self.release, self.namespace))
        except ClusterNotFound as error:
            self.log.info("%s; this deployment makes it", error)
            return Observed()


class HelmUpgradeOperator(HelmOperator):
    """Install or upgrade a Helm release, wait until it serves, and roll back if it does not.

    Returns a ``Result`` as JSON whose version is the Helm revision that serves. A release that an earlier
    try left ``pending`` is set right first. Without ``change`` and ``change_set`` it deploys what it is given.

    :param change: the planned ``ComponentChange`` to apply (templated)
    :param change_set: digest of the approved change set (templated); ``authorization`` then has to cover it
    :param authorization: the signed decisions (templated)
    """

    template_fields: Sequence[str] = (*HelmOperator.template_fields, "change", "change_set", "authorization")

    def __init__(
        self,
        *,
        change: Mapping[str, Any] | str | None = None,
        change_set: str | None = None,
        authorization: Mapping[str, Any] | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.change = change
        self.change_set = change_set
        self.needs_approval = change_set is not None or authorization is not None
        self.authorization = authorization

    def work(self, context: Context) -> dict[str, Any]:
        from triplane.kubernetes.deploy import Deployment

        begin = time.monotonic()
        approved = settings.approved_change(context, self)
        written = self.written(self.images or _images(approved))
        if approved:
            check(approved, written)
            if not approved.changed:
                return self._result("unchanged", str(approved.binds["revision"]), begin)
        wanted = written.wanted(settings.lookup(self.scope))
        with self.opened() as helm:
            deployment = Deployment(
                helm=helm,
                release=written.release,
                chart=self.chart(),
                wanted=wanted,
                values_digest=written.values_digest,
                approved_revision=int(approved.binds["revision"]) if approved else None,
                timeout=int(self.timeout),
                kubectl=self.kubectl_bin,
                state=_TryState(context),
            )
            try:
                outcome = deployment.run()
            except ToolError as error:
                raise self._failed(context, deployment, error, begin) from error
        return self._result(outcome.state, str(outcome.revision), begin)

    def _failed(self, context: Context, deployment: Deployment, error: ToolError, begin: float) -> Exception:
        """What to raise after Helm failed: the chart's fault is final, an unreachable cluster is not."""
        failure = deployment.explain(error)
        if failure.retry:
            return AirflowException(f"{self.address}: {failure.text}")
        result = self._result("rolled_back" if failure.revision else "failed", str(failure.revision), begin)
        context["ti"].xcom_push(key="return_value", value=result)
        return AirflowFailException(f"{self.address}: {failure.text}")

    def _result(self, state: Any, version: str, begin: float) -> dict[str, Any]:
        from triplane.core.change import Result

        return Result(
            address=self.address,
            version=version,
            state=state,
            seconds=time.monotonic() - begin,
            details={"release": f"{self.namespace}/{self.release}"},
        ).to_json()


class ImageParityOperator(BaseOperator):
    """Read the pods of several clusters and fail unless the same image digests serve a release everywhere.

    Returns cloud -> container -> digest.

    :param release: the Helm release
    :param namespace: its namespace
    :param clusters: name -> how to reach it: ``cloud``, ``conn_id``, ``cluster``, ``region``, ``project``,
        ``resource_group`` as in :class:`HelmOperator`, and the ``scope`` of its references
    """

    template_fields: Sequence[str] = ("release", "namespace", "clusters")
    ui_color = "#dce6fb"

    def __init__(
        self,
        *,
        release: str,
        namespace: str,
        clusters: Mapping[str, Mapping[str, Any]],
        kubectl_bin: str = "kubectl",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.release = release
        self.namespace = namespace
        self.clusters = clusters
        self.kubectl_bin = kubectl_bin

    def execute(self, context: Context) -> dict[str, dict[str, str]]:
        """Read every cluster, then compare."""
        from triplane.kubernetes import kubectl

        with airflow_errors(f"parity of {self.namespace}/{self.release}"):
            serving = {name: self._read(**options) for name, options in self.clusters.items()}
            found = kubectl.same_everywhere(self.release, serving)
        for name, digests in found.items():
            self.log.info("%s: %s", name, digests)
        return found

    def on_kill(self) -> None:
        """Stop kubectl."""
        from triplane.core.process import stop_all

        stop_all()

    def _read(
        self, *, cloud: str, conn_id: str, cluster: str = "", scope: str = "", **options: str | None
    ) -> kubectl.Serving:
        from triplane.clouds.kubeconfig import kubeconfig
        from triplane.kubernetes import kubectl

        name = resolve(cluster, settings.lookup(scope))
        with kubeconfig(cloud, conn_id, name, **options) as path:
            return kubectl.read(path, self.namespace, self.release, self.kubectl_bin)


class _TryState:
    """What this task's earlier tries left behind; XCom is cleared at each try, this is not."""

    def __init__(self, context: Context) -> None:
        self._store: Any = context.get("task_state_store")

    def get(self, key: str) -> str | None:
        """The value of ``key``, None if there is none."""
        return None if self._store is None else self._store.get(key)

    def set(self, key: str, value: str) -> None:
        """Keep ``value`` for the next try."""
        if self._store is not None:
            self._store.set(key, value)


def check(approved: ComponentChange, written: Written) -> None:
    """:raises RefusedError: what would be deployed is not what was approved"""
    actual = written.binds(0)
    names = (approved.binds.keys() | actual.keys()) - {"revision"}
    differing = sorted(name for name in names if approved.binds.get(name) != actual.get(name))
    if differing:
        details = ", ".join(
            f"{name}: approved {approved.binds.get(name)}, found {actual.get(name)}" for name in differing
        )
        raise RefusedError(f"this is not what was approved ({details}); plan again and ask again")


def _images(approved: ComponentChange | None) -> dict[str, str]:
    binds = approved.binds if approved else {}
    return {key.removeprefix(IMAGE): str(value) for key, value in binds.items() if key.startswith(IMAGE)}


@contextmanager
def airflow_errors(what: str) -> Iterator[None]:
    """Our errors as Airflow's: final where a retry cannot help."""
    try:
        yield
    except TerminalError as error:
        raise AirflowFailException(f"{what}: {error}") from error
    except ToolError as error:
        from triplane.kubernetes.helm import unreachable

        kind = AirflowException if unreachable(error) else AirflowFailException
        raise kind(f"{what}: {error}") from error
    except TriplaneError as error:
        raise AirflowException(f"{what}: {error}") from error
