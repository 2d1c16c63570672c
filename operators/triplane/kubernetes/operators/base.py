"""What the Helm operators share."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from triplane import settings
from triplane.core.errors import InputError, TerminalError, ToolError, TriplaneError
from triplane.core.references import resolve
from triplane.secrets.references import lookup_in

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.change import ComponentChange, State
    from triplane.core.jobs import Job
    from triplane.kubernetes.deploy import Crds
    from triplane.kubernetes.fetch import Chart
    from triplane.kubernetes.helm import Helm
    from triplane.kubernetes.plan import ImagesAs, Written
    from triplane.kubernetes.repositories import Repositories


class HelmOperator(BaseOperator):
    """What the Helm operators share; not used by itself.

    :param path: the chart's folder, inside the frozen source if there is one; or name the next three
    :param repository: ``https://…`` of a chart repository, or ``oci://…`` of a registry and the path in it
    :param chart: the chart's name there
    :param version: its version, one version and not a range
    :param chart_conn_id: the Airflow connection with the login for charts and their dependencies: one of a cloud
        for its registry, or any with login and password; for its ``host``, or else for that of ``repository``.
        Schema ``http`` means an OCI registry without TLS
    :param release: name of the release; default is the chart's name
    :param namespace: its namespace, made if it is missing
    :param values: the chart's values. May hold ``${stack.output}``, ``${variable.name}`` (an Airflow
        Variable) and ``${connection.conn_id}`` (its password)
    :param values_files: YAML files inside the source, later ones over earlier ones, ``values`` over them all;
        no reference is replaced in them
    :param images: key in the values -> ``host/repository@sha256:…``; ``<key>.repository`` and
        ``<key>.digest`` are set
    :param images_as: ``digest``, or ``tag`` for charts that only know ``<key>.repository`` and ``<key>.tag``, or
        ``reference`` for those whose ``<key>`` is the whole image
    :param crds: ``install`` those of the chart that are missing, ``update`` them too, or ``skip`` them
    :param test: run the chart's tests after each change, and roll back if one fails
    :param history_max: revisions that Helm keeps, 0 for all
    :param cloud: ``aws``, ``gcp``, ``azure``, or ``kubernetes`` for a connection of that type
    :param conn_id: the Airflow connection to that cloud
    :param cluster: name of the cluster; may be a ``${stack.output}``
    :param region: region (AWS) or location (Google Cloud) of the cluster
    :param project: Google Cloud project; default is the connection's
    :param resource_group: Azure resource group of the cluster
    :param source: digest of the frozen source, None for a folder of the worker
    :param address: ``<cloud>/chart/<name>``; by default made of the release's name
    :param scope: where stack outputs are kept: ``<environment>/<cloud>``; by default the DAG's id
    :param gate: checks that judge a changed release, as :class:`triplane.gates.sensors.GateSensor` takes them; one that
        does not pass rolls back
    :param ask: who is asked where checks with ``no_data: ask`` have no data, as the same sensor takes it
    :param timeout: seconds until a release that does not become ready is rolled back
    :param helm_bin: ``helm`` (version 3.13 or later, or 4) or a path
    :param kubectl_bin: ``kubectl`` or a path
    """

    template_fields: Sequence[str] = (
        *("path", "release", "namespace", "values", "images", "source", "address", "scope"),
        *("repository", "chart", "version", "chart_conn_id", "values_files"),
        *("conn_id", "cluster", "region", "project", "resource_group", "gate", "ask"),
    )
    ui_color = "#dce6fb"

    def __init__(
        self,
        *,
        path: str | None = None,
        repository: str | None = None,
        chart: str | None = None,
        version: str | None = None,
        chart_conn_id: str | None = None,
        release: str | None = None,
        namespace: str = "default",
        values: Mapping[str, Any] | None = None,
        values_files: Any = (),
        images: Mapping[str, str] | None = None,
        images_as: ImagesAs = "digest",
        crds: Crds = "install",
        test: bool = False,
        history_max: int = 10,
        cloud: str = "kubernetes",
        conn_id: str = "kubernetes_default",
        cluster: str = "",
        region: str | None = None,
        project: str | None = None,
        resource_group: str | None = None,
        source: str | None = None,
        address: str | None = None,
        scope: str = "{{ dag.dag_id }}",
        gate: Sequence[Mapping[str, Any]] | None = None,
        ask: Mapping[str, Any] | None = None,
        timeout: float = 300,
        helm_bin: str = "helm",
        kubectl_bin: str = "kubectl",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.repository = repository
        self.chart = chart
        self.version = version
        self.chart_conn_id = chart_conn_id
        self.release = release or (chart or path or "").rstrip("/").rsplit("/", 1)[-1]
        self.namespace = namespace
        self.values = values or {}
        self.values_files = values_files
        self.images = images or {}
        self.images_as = images_as
        self.crds = crds
        self.test = test
        self.history_max = history_max
        self.cloud = cloud
        self.conn_id = conn_id
        self.cluster = cluster
        self.region = region
        self.project = project
        self.resource_group = resource_group
        self.source = source
        self.address = address or f"{cloud}/chart/{self.release}"
        self.scope = scope
        self.gate = gate or ()
        self.ask = ask or {}
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

    @property
    def root(self) -> Path:
        """The source's folder; relative paths of the worker begin at ``.``."""
        return settings.source_dir(self.source) if self.source else Path()

    @contextmanager
    def opened_chart(self, approved: ComponentChange | None = None) -> Iterator[Chart]:
        """The chart with all that it depends on: as approved, or fetched now."""
        from triplane.core.process import private_dir
        from triplane.kubernetes.fetch import Place, fetch, open_packed

        place = Place(
            path=self.root / self.path if self.path else None,
            root=self.root if self.source else None,
            repository=self.repository,
            name=self.chart,
            version=self.version,
        )
        with private_dir() as folder:
            if approved and place.is_packed:
                data = settings.artifact_store().get(str(approved.binds.get("chart")))
                yield open_packed(data, folder)
            else:
                yield fetch(place, self._repositories().pull, folder)

    def _repositories(self) -> Repositories:
        from triplane.kubernetes.logins import logins
        from triplane.kubernetes.repositories import Repositories

        login = logins(self.chart_conn_id, self.repository)
        return Repositories(self.helm_bin, login, redact=lambda text: settings.redactor()(text))

    def written(self, images: Mapping[str, str], chart: Chart) -> Written:
        """The release as it was written."""
        from triplane.kubernetes.fetch import read_values
        from triplane.kubernetes.helm import Release
        from triplane.kubernetes.plan import Image, Written

        return Written(
            release=Release(self.release, self.namespace),
            cluster=self.place,
            chart=chart.digest,
            values=self.values,
            files=read_values(self.root, self.values_files),
            images={key: Image.parse(reference) for key, reference in images.items()},
            images_as=self.images_as,
            crds=self.crds,
            test=self.test,
        )

    @property
    def place(self) -> str:
        """The cluster as it was written."""
        return f"{self.cloud}/{self.cluster or self.conn_id}"

    def cluster_name(self) -> str | None:
        """The cluster's name, None if it comes from a stack that has not made it."""
        try:
            return str(resolve(self.cluster, lookup_in(self.scope)))
        except InputError:
            return None

    def job(self, context: Context) -> Job:
        """Where a retry finds the Helm that a killed try left at work."""
        from triplane.core import jobs

        run = context["dag_run"]
        return jobs.job(["helm", run.dag_id, run.run_id, self.address, self.namespace, self.release])

    def result(self, state: State, version: str, begin: float, error: str = "") -> dict[str, Any]:
        """What the task returns after work that began at ``begin``; ``error`` says why it failed."""
        from triplane.core.change import Result

        return Result(
            address=self.address,
            version=version,
            state=state,
            seconds=time.monotonic() - begin,
            details={"release": f"{self.namespace}/{self.release}", **({"error": error} if error else {})},
        ).to_json()

    @contextmanager
    def opened(self, job: Job | None = None) -> Iterator[Helm]:
        """Helm, talking to the cluster; as ``job`` what it changes is found by a retry."""
        from triplane.clouds.kubeconfig import kubeconfig
        from triplane.kubernetes.helm import Helm

        options = {"region": self.region, "project": self.project, "resource_group": self.resource_group}
        cluster = resolve(self.cluster, lookup_in(self.scope))
        with kubeconfig(self.cloud, self.conn_id, cluster, **options) as path:
            yield Helm(
                path,
                self.helm_bin,
                say=self.log.info,
                redact=lambda text: settings.redactor()(text),
                job=job,
            )


def went_back_key(scope: str, address: str) -> str:
    """Under this name the revision is kept with which we left one that was deployed and proved bad."""
    return f"went_back/{scope}/{address}"


@contextmanager
def airflow_errors(what: str) -> Iterator[None]:
    """Our errors as Airflow's: final where a retry cannot help."""
    try:
        yield
    except TerminalError as error:
        raise AirflowFailException(f"{what}: {error}") from error
    except ToolError as error:
        from triplane.core.errors import ToolTimeout
        from triplane.kubernetes.helm import killed, unreachable

        passing = isinstance(error, ToolTimeout) or unreachable(error) or killed(error)
        kind = AirflowException if passing else AirflowFailException
        raise kind(f"{what}: {error}") from error
    except TriplaneError as error:
        raise AirflowException(f"{what}: {error}") from error
