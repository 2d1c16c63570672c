"""The same images in all clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from triplane.core.references import resolve
from triplane.kubernetes.operators.base import airflow_errors
from triplane.secrets.references import lookup_in

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.kubernetes import kubectl


class ImageParityOperator(BaseOperator):
    """Read the pods of several clusters and fail unless the same image digests serve a release everywhere.

    Returns cloud -> container -> digest.

    :param release: the Helm release
    :param namespace: its namespace
    :param clusters: name -> how to reach it: ``cloud``, ``conn_id``, ``cluster``, ``region``, ``project``,
        ``resource_group`` as in :class:`HelmOperator`, the ``scope`` of its references, and its ``namespace`` if
        that is another
    :param kubectl_bin: the program
    :param skip: true skips this task (templated)
    """

    template_fields: Sequence[str] = ("release", "namespace", "clusters", "skip")
    ui_color = "#dce6fb"

    def __init__(
        self,
        *,
        release: str,
        namespace: str,
        clusters: Mapping[str, Mapping[str, Any]],
        kubectl_bin: str = "kubectl",
        skip: str | bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.skip = skip
        self.release = release
        self.namespace = namespace
        self.clusters = clusters
        self.kubectl_bin = kubectl_bin

    def execute(self, context: Context) -> dict[str, dict[str, str]]:
        """Read every cluster, then compare."""
        if str(self.skip) == "True":
            raise AirflowSkipException("nothing is deployed")
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
        self,
        *,
        cloud: str,
        conn_id: str,
        cluster: str = "",
        scope: str = "",
        namespace: str = "",
        **options: str | None,
    ) -> kubectl.Serving:
        from triplane.clouds.kubeconfig import kubeconfig
        from triplane.kubernetes import kubectl

        name = resolve(cluster, lookup_in(scope))
        with kubeconfig(cloud, conn_id, name, **options) as path:
            return kubectl.read(path, namespace or self.namespace, self.release, self.kubectl_bin)
