"""Look for drift in a cloud's cluster: its releases and its manifests, in one task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triplane import settings
from triplane.checking import CheckingOperator, Component, Seen, named
from triplane.kubernetes.manifest_operators import ManifestsOperator, deployed_key
from triplane.kubernetes.operators.base import went_back_key

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

    from triplane.core.drift import Finding
    from triplane.kubernetes.objects import Object


class _ReleaseOrManifests(Component):
    operator: ManifestsOperator
    path: Path | None = None
    missing = ""
    settings = ""
    deployed: dict[str, Any] | None = None
    went_back = 0

    def deployed_by(self, task_id: str, arguments: dict[str, Any]) -> ManifestsOperator:
        self.release = arguments.pop("release", None)
        self.helm_bin = arguments.pop("helm_bin", "helm")
        return ManifestsOperator(task_id=task_id, **arguments)

    def look_up(self, stack: ExitStack) -> None:
        from triplane.clouds.kubeconfig import ClusterNotFound

        scope, address = self.operator.scope, self.operator.address
        self.went_back = (named(went_back_key(scope, address)) or {}).get("revision", 0)
        self.deployed = named(deployed_key(scope, address))
        try:
            self.settings = "" if self.release else self.operator.written({}).settings
            if self.operator.cluster_is_known():
                self.path = stack.enter_context(self.operator.kubeconfig())
            else:
                self.missing = "its cluster was never made"
        except ClusterNotFound as error:
            self.missing = str(error)

    def look(self) -> Seen:
        from triplane.core.errors import TransientError
        from triplane.kubernetes import drift

        if self.path is None:
            if self.deployed is not None or self.was_deployed:
                raise TransientError(f"it was deployed, but {self.missing}")
            return Seen(pending=f"nothing is deployed: {self.missing}")
        found, objects, manager, pending = self._release() if self.release else self._manifests()
        kubectl = self.operator.kubectl(self.path)
        seen = drift.look(kubectl, objects, manager)
        more, noise = drift.findings(seen, settings.redactor())
        uninstalled = not objects and any(item["action"] == "delete" for item in found)
        missing = uninstalled or (bool(objects) and not seen.live)
        return Seen([*found, *more], pending, noise, missing, drift.images(seen))

    def _manifests(self) -> tuple[list[Finding], list[Object], str, str]:
        from triplane.kubernetes.kube import MANAGER

        if self.deployed is None:
            return [], [], MANAGER, "it was never applied"
        changed = self.deployed["settings"] != self.settings
        pending = "the source or its settings have changed" if changed else ""
        return [], self.deployed["objects"], MANAGER, pending

    def _release(self) -> tuple[list[Finding], list[Object], str, str]:
        from triplane.core.drift import finding
        from triplane.kubernetes.drift import MANAGER, history, of_release
        from triplane.kubernetes.helm import Helm, Release

        assert self.path is not None
        release = Release(self.release, self.operator.namespace)
        helm = Helm(self.path, self.helm_bin, redact=settings.redactor())
        observed = helm.observe(release)
        found = list(history(observed, str(release), self.went_back))
        if observed.serving is None and observed.latest is None and self.was_deployed:
            return [finding(f"release {release}", "delete")], [], MANAGER, ""
        if observed.serving is None:
            return found, [], MANAGER, "nothing is installed"
        kubectl = self.operator.kubectl(self.path)
        return found, of_release(helm, release, observed.serving.number, kubectl), MANAGER, ""


class KubernetesDriftBatchOperator(CheckingOperator):
    """Compare what was deployed to a cluster with what is there, see :class:`triplane.checking.CheckingOperator`.

    ``pending`` is what the source says otherwise than what was deployed, or what was not deployed yet.

    :param components: for each the arguments of a :class:`ManifestsOperator`, without images; with ``release`` it is
        the Helm release of that name, with ``helm_bin`` if that is not ``helm``. ``ignore`` as for stacks (templated)
    """

    ui_color = "#dce6fb"
    component = _ReleaseOrManifests

    def on_kill(self) -> None:
        """Stop kubectl, and begin nothing more."""
        from triplane.core.process import stop_all

        super().on_kill()
        stop_all()
