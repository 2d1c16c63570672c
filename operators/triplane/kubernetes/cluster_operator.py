"""What the operators that speak to a cluster with kubectl share."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from triplane import settings
from triplane.core.errors import InputError
from triplane.core.references import resolve
from triplane.kubernetes.operators.base import airflow_errors
from triplane.secrets.references import lookup_in

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.kubernetes.rollout import Rollout
    from triplane.kubernetes.standing import Workload


class ClusterOperator(BaseOperator):
    """Not used by itself.

    :param address: what messages and results call it: ``<cloud>/<kind>/<name>``
    :param cloud: ``aws``, ``gcp``, ``azure``, or ``kubernetes`` for a connection of that type
    :param conn_id: the Airflow connection to that cloud
    :param cluster: name of the cluster; may be a ``${stack.output}``
    :param region: region (AWS) or location (Google Cloud) of the cluster
    :param project: Google Cloud project; default is the connection's
    :param resource_group: Azure resource group of the cluster
    :param scope: where stack outputs are kept: ``<environment>/<cloud>``; by default the DAG's id
    :param timeout: seconds until workloads have to be ready
    :param deferrable: wait for them without a worker slot, after the first :attr:`patience` seconds
    :param poll: seconds between two looks while deferred
    :param kubectl_bin: ``kubectl`` or a path
    """

    template_fields: Sequence[str] = (
        *("address", "scope", "conn_id", "cluster", "region", "project", "resource_group"),
    )
    ui_color = "#dce6fb"
    patience = 20.0

    def __init__(
        self,
        *,
        address: str,
        cloud: str = "kubernetes",
        conn_id: str = "kubernetes_default",
        cluster: str = "",
        region: str | None = None,
        project: str | None = None,
        resource_group: str | None = None,
        scope: str = "{{ dag.dag_id }}",
        timeout: float = 300,
        deferrable: bool = True,
        poll: float = 15.0,
        kubectl_bin: str = "kubectl",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.address = address
        self.cloud = cloud
        self.conn_id = conn_id
        self.cluster = cluster
        self.region = region
        self.project = project
        self.resource_group = resource_group
        self.scope = scope
        self.timeout = timeout
        self.deferrable = deferrable
        self.poll = poll
        self.kubectl_bin = kubectl_bin

    def execute(self, context: Context) -> Any:
        """Do the operator's work. A retry is allowed only where it can help."""
        with airflow_errors(self.address):
            return self.work(context)

    def work(self, context: Context) -> Any:
        """What the task returns."""
        raise NotImplementedError

    def on_kill(self) -> None:
        """Stop kubectl."""
        from triplane.core.process import stop_all

        stop_all()

    @property
    def place(self) -> str:
        """The cluster as it was written."""
        return f"{self.cloud}/{self.cluster or self.conn_id}"

    def cluster_is_known(self) -> bool:
        """False where its name comes from a stack that has not made it."""
        try:
            resolve(self.cluster, lookup_in(self.scope))
        except InputError:
            self.log.info("%s is not known yet: a stack of this deployment makes the cluster", self.cluster)
            return False
        return True

    def access(self) -> dict[str, Any]:
        """The arguments of :func:`triplane.clouds.kubeconfig.kubeconfig`.

        :raises InputError: the cluster's name comes from a stack that has not made it
        """
        names = ("cloud", "conn_id", "region", "project", "resource_group")
        found = {name: getattr(self, name) for name in names}
        return found | {"cluster": str(resolve(self.cluster, lookup_in(self.scope)))}

    @contextmanager
    def kubeconfig(self) -> Iterator[Path]:
        """A private kubeconfig with a short-lived token."""
        from triplane.clouds.kubeconfig import kubeconfig

        with kubeconfig(**self.access()) as path:
            yield path

    def rollout(self, path: Path, workloads: Iterable[Workload]) -> Rollout:
        """What is waited for."""
        from triplane.kubernetes.rollout import Rollout

        return Rollout(
            kubeconfig=path,
            workloads=tuple(workloads),
            timeout=self.timeout,
            binary=self.kubectl_bin,
            say=lambda line: self.log.info("%s", line),
            redact=lambda text: settings.redactor()(text),
        )

    def await_ready(self, path: Path, workloads: Sequence[Workload], kept: Mapping[str, Any]) -> None:
        """Wait until ``workloads`` are ready, without a worker slot if that takes long.

        ``kept`` comes back as keyword arguments of :meth:`ready`.

        :raises RolloutError: one failed, or the time is over
        """
        from triplane.kubernetes.triggers import RolloutTrigger

        begin = time.time()
        if not workloads or self.rollout(path, workloads).wait(self.patience if self.deferrable else None):
            return
        self.log.info("This takes longer: waiting without a worker slot")
        plain = [[item.kind, item.namespace, item.name] for item in workloads]
        trigger = RolloutTrigger(
            workloads=plain,
            access=self.access(),
            until=begin + self.timeout,
            kept=kept,
            poll=self.poll,
            kubectl_bin=self.kubectl_bin,
        )
        self.defer(trigger=trigger, method_name="resume")

    def resume(self, context: Context, event: Mapping[str, Any]) -> Any:
        """Go on after the trigger has fired; the cluster is looked at again, an event proves nothing."""
        from triplane.kubernetes.standing import Workload

        self.log.info("The wait has ended: %s", event["state"])
        kept = event["kept"]
        with airflow_errors(self.address):
            with self.kubeconfig() as path:
                rollout = self.rollout(path, (Workload(*item) for item in event["workloads"]))
                look = rollout.look()
                if not look.done:
                    self.failed(context, kept)
                    raise AirflowFailException(f"{self.address}: {rollout.explained(look)}")
            return self.ready(context, **kept)

    def ready(self, context: Context, **kept: Any) -> Any:
        """What the task returns once all is ready."""
        raise NotImplementedError

    def failed(self, context: Context, kept: Mapping[str, Any]) -> None:
        """What to leave behind for the record before the task fails."""


class RolloutOperator(ClusterOperator):
    """Wait until workloads are ready, and say why if they do not get ready.

    Returns their names. Long waits take no worker slot.

    :param workloads: ``deployment/api``, ``statefulset/db``, ``daemonset/agent``, ``job/migrate``
    :param namespace: where they are
    """

    template_fields: Sequence[str] = (*ClusterOperator.template_fields, "workloads", "namespace")

    def __init__(self, *, workloads: Sequence[str], namespace: str = "default", **kwargs: Any) -> None:
        super().__init__(**{"address": f"rollout of {', '.join(workloads)}", **kwargs})
        self.workloads = workloads
        self.namespace = namespace

    def work(self, context: Context) -> list[str]:
        """Wait."""
        from triplane.kubernetes.standing import KINDS, Workload

        kinds = {kind.lower(): kind for kind in KINDS}
        found = []
        for text in self.workloads:
            kind, _, name = text.partition("/")
            if kind.lower() not in kinds or not name:
                raise InputError(
                    f"{text!r} cannot be waited for; write one of {', '.join(kinds)}, / and its name"
                )
            found.append(Workload(kinds[kind.lower()], self.namespace, name))
        with self.kubeconfig() as path:
            self.await_ready(path, found, {})
        return list(self.workloads)

    def ready(self, context: Context, **kept: Any) -> list[str]:
        """After a long wait."""
        return list(self.workloads)
