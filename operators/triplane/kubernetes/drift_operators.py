"""Look for drift in a cloud's cluster: its releases and its manifests, in one task."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from triplane import settings
from triplane.core.errors import TriplaneError
from triplane.kubernetes.manifest_operators import ManifestsOperator, deployed_key
from triplane.kubernetes.operators.base import went_back_key

if TYPE_CHECKING:
    from pathlib import Path

    from airflow.sdk import Context

    from triplane.core.drift import Check
    from triplane.kubernetes.objects import Object

WORKERS = 4


class KubernetesDriftBatchOperator(BaseOperator):
    """Compare what was deployed to a cluster with what is there, changing nothing.

    Returns one entry for each component, see :class:`triplane.core.drift.Check`: ``in_sync``, ``drifted``, ``pending``
    (the source says something else than what was deployed, or nothing was yet) or ``unknown`` with the reason; an
    ``unknown`` one does not keep the others from their answers.

    :param components: for each the arguments of a :class:`ManifestsOperator`, without images; with ``release`` it is
        the Helm release of that name, with ``helm_bin`` if that is not ``helm``. ``ignore`` as for stacks (templated)
    """

    template_fields: Sequence[str] = ("components",)
    ui_color = "#dce6fb"

    def __init__(self, *, components: Sequence[Mapping[str, Any]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.components = components
        self.stopped = False

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Check them all. What needs Airflow is looked up first, here; the rest is kubectl's work."""
        from concurrent.futures import ThreadPoolExecutor

        with ExitStack() as stack:
            checks = [_One(self, dict(component), stack) for component in self.components]
            with ThreadPoolExecutor(WORKERS) as pool:
                results = list(pool.map(_One.run, checks))
        if self.stopped:
            raise AirflowFailException("stopped before everything was checked")
        return [result.to_json() for result in results]

    def on_kill(self) -> None:
        """Stop kubectl, and begin nothing more."""
        from triplane.core.process import stop_all

        self.stopped = True
        stop_all()


class _One:
    """One component of a batch, with everything looked up that needs Airflow."""

    def __init__(
        self, batch: KubernetesDriftBatchOperator, arguments: dict[str, Any], stack: ExitStack
    ) -> None:
        from triplane.clouds.kubeconfig import ClusterNotFound

        self.batch = batch
        self.release = arguments.pop("release", None)
        self.helm_bin = arguments.pop("helm_bin", "helm")
        self.ignore = arguments.pop("ignore", ())
        self.operator = ManifestsOperator(task_id=f"{batch.task_id}-check", **arguments)
        self.error, self.missing = "", ""
        self.path: Path | None = None
        self.before: dict[str, Any] = {}
        self.deployed: dict[str, Any] | None = None
        self.went_back = 0
        try:
            self.before = self._named(self._kept) or {}
            self.went_back = (
                self._named(went_back_key(self.operator.scope, self.operator.address)) or {}
            ).get("revision", 0)
            self.deployed = self._named(deployed_key(self.operator.scope, self.operator.address))
            self.settings = "" if self.release else self.operator.written({}).settings
            if self.operator.cluster_is_known():
                self.path = stack.enter_context(self.operator.kubeconfig())
            else:
                self.missing = "its cluster was never made"
        except ClusterNotFound as error:
            self.missing = str(error)
        except TriplaneError as error:
            self.error = str(error)

    def run(self) -> Check:
        from triplane.core.drift import memory, unknown

        address = self.operator.address
        try:
            if self.batch.stopped:
                self.error = "stopped before it was checked"
            if not self.error:
                check = self._check()
                settings.artifact_store().put_named(self._kept, json.dumps(memory(check)).encode())
                self._say(check)
                return check
        except TriplaneError as error:
            self.error = str(error)
        said = settings.redactor()(self.error)
        self.batch.log.error("%s: not checked: %s", address, said)
        return unknown(address, said, self.before)

    def _check(self) -> Check:
        from triplane.core.drift import Ignore, judge
        from triplane.core.errors import TransientError
        from triplane.kubernetes import drift

        rules = [Ignore.from_json(rule) for rule in self.ignore]
        address = self.operator.address
        if self.path is None:
            if self.deployed is not None:
                raise TransientError(f"it was deployed, but {self.missing}")
            return judge(address, (), pending=f"nothing is deployed: {self.missing}", ignores=rules)
        found, objects, manager, pending = self._release() if self.release else self._manifests()
        kubectl = self.operator.kubectl(self.path)
        more, noise = drift.findings(drift.look(kubectl, objects, manager), settings.redactor())
        return judge(
            address, [*found, *more], noise=noise, pending=pending, ignores=rules, before=self.before
        )

    def _manifests(self) -> tuple[list[Any], list[Object], str, str]:
        from triplane.kubernetes.kube import MANAGER

        if self.deployed is None:
            return [], [], MANAGER, "it was never applied"
        changed = self.deployed["settings"] != self.settings
        pending = "the source or its settings have changed" if changed else ""
        return [], self.deployed["objects"], MANAGER, pending

    def _release(self) -> tuple[list[Any], list[Object], str, str]:
        from triplane.kubernetes.drift import MANAGER, history, of_release
        from triplane.kubernetes.helm import Helm, Release

        assert self.path is not None
        release = Release(self.release, self.operator.namespace)
        helm = Helm(self.path, self.helm_bin, redact=settings.redactor())
        observed = helm.observe(release)
        found = list(history(observed, str(release), self.went_back))
        if observed.serving is None:
            return found, [], MANAGER, "nothing is installed"
        kubectl = self.operator.kubectl(self.path)
        return found, of_release(helm, release, observed.serving.number, kubectl), MANAGER, ""

    def _say(self, check: Check) -> None:
        for item in check.resources:
            names = ", ".join(attribute["name"] for attribute in item["attributes"]) or item["action"]
            self.batch.log.warning("%s: drifted: %s: %s", check.address, item["address"], names)
        self.batch.log.info("%s: %s %s", check.address, check.state, check.pending)

    def _named(self, name: str) -> dict[str, Any] | None:
        data = settings.artifact_store().get_named(name)
        return None if data is None else json.loads(data)

    @property
    def _kept(self) -> str:
        return f"drift/{self.operator.scope}/{self.operator.address}"
