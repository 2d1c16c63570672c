"""Plain manifests and kustomize folders as Airflow tasks: plan, apply exactly what was planned, delete."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triplane import sealing, settings
from triplane.applying import Applying
from triplane.core.digest import digest_tree
from triplane.core.errors import InputError
from triplane.kubernetes.cluster_operator import ClusterOperator
from triplane.secrets.references import lookup_in

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.change import ComponentChange, State
    from triplane.core.jobs import Job
    from triplane.kubernetes.component import Component
    from triplane.kubernetes.kube import Kubectl
    from triplane.kubernetes.manifests import Written
    from triplane.kubernetes.objects import Object

IMAGE = "image."


class ManifestsOperator(ClusterOperator):
    """What these operators share; not used by itself. Takes the arguments of :class:`ClusterOperator` too.

    :param path: the folder: one with a ``kustomization.yaml``, or one of YAML and JSON files; None for none
    :param namespace: for objects that name none; made if it is missing
    :param images: image name in the manifests -> ``host/repository@sha256:…``
    :param config: ConfigMap -> key -> value
    :param secrets: Secret -> key -> value. Here and in ``config``, ``${stack.output}``, ``${variable.name}`` and
        ``${connection.conn_id}`` stand for values
    :param external_secrets: Secret -> ``{"store", "keys": {key: "path#property"}}``, for External Secrets
    :param csi_secrets: Secret -> ``{"keys": {key: name}, "parameters"}``, for the cloud's CSI driver
    :param workloads: ``"deployment/api"`` -> replicas, max_surge, max_unavailable, autoscale
    :param source: digest of the frozen source, None for a folder of the worker
    """

    template_fields: Sequence[str] = (
        *ClusterOperator.template_fields,
        *("path", "namespace", "images", "config", "secrets"),
        *("external_secrets", "csi_secrets", "workloads", "source"),
    )

    def __init__(
        self,
        *,
        path: str | None = None,
        namespace: str = "default",
        images: Mapping[str, str] | None = None,
        config: Mapping[str, Mapping[str, Any]] | None = None,
        secrets: Mapping[str, Mapping[str, Any]] | None = None,
        external_secrets: Mapping[str, Mapping[str, Any]] | None = None,
        csi_secrets: Mapping[str, Mapping[str, Any]] | None = None,
        workloads: Mapping[str, Mapping[str, Any]] | None = None,
        source: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.namespace = namespace
        self.images = images or {}
        self.config = config or {}
        self.secrets = secrets or {}
        self.external_secrets = external_secrets or {}
        self.csi_secrets = csi_secrets or {}
        self.workloads = workloads or {}
        self.source = source

    def folder(self) -> Path | None:
        """The manifests' folder."""
        if self.path is None:
            return None
        folder = (settings.source_dir(self.source) if self.source else Path()) / self.path
        if not folder.is_dir():
            raise InputError(f"{self.path} is not a folder of manifests")
        return folder

    def written(self, images: Mapping[str, str]) -> Written:
        """The component as it was written."""
        from triplane.kubernetes.manifests import Written
        from triplane.kubernetes.plan import Image

        folder = self.folder()
        return Written(
            address=self.address,
            cluster=self.place,
            namespace=self.namespace,
            tree=digest_tree(folder) if folder else "",
            images={name: Image.parse(reference) for name, reference in images.items()},
            config=self.config,
            secrets=self.secrets,
            external_secrets=self.external_secrets,
            csi_secrets=self.csi_secrets,
            workloads=self.workloads,
        )

    def kubectl(self, path: Path, job: Job | None = None) -> Kubectl:
        """kubectl, talking to the cluster."""
        from triplane.kubernetes.kube import Kubectl

        return Kubectl(
            path,
            self.kubectl_bin,
            say=lambda line: self.log.info("%s", line),
            redact=lambda text: settings.redactor()(text),
            job=job,
        )

    def component(self, kubectl: Kubectl, written: Written) -> Component:
        """The component in the cluster."""
        from triplane.kubernetes.component import Component
        from triplane.kubernetes.manifests import read

        folder = self.folder()
        found = read(folder, kubectl) if folder else []
        return Component(kubectl=kubectl, written=written, folder=found, redact=settings.redactor())

    def job(self, context: Context) -> Job:
        """Where a retry finds the kubectl that a killed try left at work."""
        from triplane.core import jobs

        run = context["dag_run"]
        return jobs.job(["kubectl", run.dag_id, run.run_id, self.address, self.namespace])

    @contextmanager
    def there(self, job: Job | None = None) -> Iterator[Kubectl | None]:
        """kubectl, or None where the cluster is not there yet."""
        from contextlib import ExitStack

        from triplane.clouds.kubeconfig import ClusterNotFound

        with ExitStack() as stack:
            kubectl = None
            if self.cluster_is_known():
                try:
                    kubectl = self.kubectl(stack.enter_context(self.kubeconfig()), job)
                except ClusterNotFound as error:
                    self.log.info("%s; this deployment makes it", error)
            yield kubectl

    def result(self, state: State, version: str, seconds: float) -> dict[str, Any]:
        """What the task returns."""
        from triplane.core.change import Result

        details = {"namespace": self.namespace}
        return Result(
            address=self.address, version=version, state=state, seconds=seconds, details=details
        ).to_json()


class ManifestsPlanOperator(ManifestsOperator):
    """Say what applying manifests would change, as the API server itself answers; change nothing.

    Returns a ``ComponentChange`` as JSON. Its lines are the changes, object by object, secrets redacted.

    :param intent: ``destroy`` plans to delete them, all else to apply them (templated)
    """

    template_fields: Sequence[str] = (*ManifestsOperator.template_fields, "intent")

    def __init__(self, *, intent: str = "deploy", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.intent = intent

    def work(self, context: Context) -> dict[str, Any]:
        """Render, ask the server, compare."""
        from triplane.kubernetes.component import plan_to_destroy

        destroys = self.intent == "destroy"
        written = self.written({} if destroys else self.images)
        with self.there() as kubectl:
            if destroys:
                there = self.component(kubectl, written).there() if kubectl else []
                change = plan_to_destroy(written, there)
            else:
                change = self._change(written, kubectl)
        self.log.info("%s: %s (risk %s), %s", self.address, change.action, change.risk, change.summary)
        for line in change.lines:
            self.log.info("  %s", line)
        return sealing.seal(context, change)

    def _change(self, written: Written, kubectl: Kubectl | None) -> ComponentChange:
        from triplane.kubernetes.component import created, partly, plan

        missing: set[str] = set()
        lookup = partly(lookup_in(self.scope), missing)
        if kubectl is None:
            component = self.component(self.kubectl(Path("/dev/null")), written)
            items = written.objects(component.folder, lookup)
            changes = tuple(created(item, settings.redactor()) for item in items)
        else:
            component = self.component(kubectl, written)
            changes = component.observe(component.objects(lookup)).changes
        return plan(written, changes, later=bool(missing))


class ManifestsApplyOperator(Applying, ManifestsOperator):
    """Apply manifests on the server's side, prune what is no longer among them, wait until all is ready.

    Returns a ``Result`` as JSON. Long waits take no worker slot. Takes ``change``, ``change_set`` and
    ``authorization``, see :class:`triplane.applying.Applying`; without them it applies what it is given.
    """

    template_fields: Sequence[str] = (*ManifestsOperator.template_fields, *Applying.approval_fields)

    def work(self, context: Context) -> dict[str, Any]:
        """Check, apply, wait."""
        from triplane.kubernetes.component import check, check_changes
        from triplane.kubernetes.rollout import RolloutError, workloads

        begin = time.time()
        approved = self.approved(context)
        written = self.written(self.images or _images(approved))
        if approved:
            check(approved, written)
            if not approved.changed:
                return self.result("unchanged", written.settings, time.time() - begin)
        with self.kubeconfig() as path:
            kubectl = self.kubectl(path, self.job(context))
            kubectl.settle()
            component = self.component(kubectl, written)
            items = component.objects(lookup_in(self.scope))
            observed = component.observe(items)
            if approved:
                check_changes(approved, observed.changes)
            if approved or observed.changes:
                component.apply(items, observed)
            self._remember(written, items)
            state: State = "deployed" if approved or observed.changes else "unchanged"
            kept = {"state": state, "version": written.settings, "begin": begin}
            try:
                self.await_ready(path, workloads(items, self.namespace), kept)
            except RolloutError:
                self.failed(context, kept)
                raise
        return self.ready(context, **kept)

    def ready(self, context: Context, **kept: Any) -> dict[str, Any]:
        """All workloads are ready."""
        return self.result(kept["state"], kept["version"], time.time() - kept["begin"])

    def failed(self, context: Context, kept: Mapping[str, Any]) -> None:
        """The record says that it failed."""
        value = self.result("failed", kept["version"], time.time() - kept["begin"])
        context["ti"].xcom_push(key="return_value", value=value)

    def _remember(self, written: Written, items: Sequence[Object]) -> None:
        """Keep what is deployed for drift checks: encrypted, it holds secrets."""
        data = {"settings": written.settings, "namespace": self.namespace, "objects": list(items)}
        try:
            store = settings.artifact_store()
        except InputError as error:
            self.log.info("Drift checks will not know of this: %s", error)
            return
        store.put_named(deployed_key(self.scope, self.address), json.dumps(data).encode())


class ManifestsDeleteOperator(Applying, ManifestsOperator):
    """Delete all that a component of manifests has applied, and wait until it is gone.

    Takes the same arguments as the :class:`ManifestsPlanOperator` with ``intent="destroy"`` that made the change.
    Returns a ``Result`` as JSON. What is gone already, or whose cluster is, is fine.
    """

    template_fields: Sequence[str] = (*ManifestsOperator.template_fields, *Applying.approval_fields)

    def work(self, context: Context) -> dict[str, Any]:
        """Check, delete, forget."""
        from triplane.kubernetes.component import check_destroys

        begin = time.time()
        approved = self.approved(context)
        if approved and not approved.changed:
            return self.result("unchanged", "", time.time() - begin)
        written = self.written({})
        with self.there(self.job(context)) as kubectl:
            if kubectl is not None:
                kubectl.settle()
                component = self.component(kubectl, written)
                ids = component.there()
                if approved:
                    check_destroys(approved, written, ids)
                component.delete(ids, int(self.timeout))
        settings.artifact_store().put_named(deployed_key(self.scope, self.address), b"null")
        return self.result("destroyed", "", time.time() - begin)


def deployed_key(scope: str, address: str) -> str:
    """Where what is deployed is kept in the artifact store."""
    return f"deployed/{scope}/{address}"


def _images(approved: ComponentChange | None) -> dict[str, str]:
    binds = approved.binds if approved else {}
    return {key.removeprefix(IMAGE): str(value) for key, value in binds.items() if key.startswith(IMAGE)}
