"""What a Helm release would become, said before anybody is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from triplane import sealing, settings
from triplane.kubernetes.operators.base import HelmOperator
from triplane.secrets.references import lookup_in

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.change import ComponentChange
    from triplane.kubernetes.diff import Key, Object
    from triplane.kubernetes.fetch import Chart
    from triplane.kubernetes.helm import Helm, Observed
    from triplane.kubernetes.plan import Written


class HelmPlanOperator(HelmOperator):
    """Say what an upgrade of a Helm release would change, and change nothing.

    Returns a ``ComponentChange`` as JSON: ``create`` where there is no release, or no cluster yet; ``none``
    where the release serves this chart with these values and images already. Its lines show what becomes of
    each object, secrets hidden; its digest covers the chart with all its dependencies and what it renders.

    :param intent: ``destroy`` plans to uninstall the release, all else to deploy it (templated)
    """

    template_fields: Sequence[str] = (*HelmOperator.template_fields, "intent")

    def __init__(self, *, intent: str = "deploy", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.intent = intent

    def work(self, context: Context) -> dict[str, Any]:
        change = self._to_destroy() if self.intent == "destroy" else self._to_deploy()
        self.log.info("%s: %s (risk %s), %s", self.address, change.action, change.risk, change.summary)
        for line in change.lines:
            self.log.info("  %s", line)
        return sealing.seal(context, change)

    def _to_destroy(self) -> ComponentChange:
        from triplane.kubernetes.helm import Observed, Release
        from triplane.kubernetes.plan import plan_to_destroy

        release = Release(self.release, self.namespace)
        with self._there() as helm:
            observed = helm.observe(release) if helm else Observed()
        return plan_to_destroy(self.address, self.place, release, observed)

    def _to_deploy(self) -> ComponentChange:
        from triplane.kubernetes.helm import Observed
        from triplane.kubernetes.plan import plan, with_drift

        with self.opened_chart() as chart, self._there() as helm:
            written = self.written(self.images, chart)
            observed = helm.observe(written.release) if helm else Observed()
            change = plan(self.address, written, observed, lookup_in(self.scope), settings.redactor())
            if helm and observed.serving is not None:
                change = with_drift(change, self._by_hand(helm, observed.serving.number))
            if not change.changed:
                return change
            if chart.packed is not None:
                settings.artifact_store().put(chart.packed)
            return self._with_objects(helm, change, written, observed, chart)

    def _by_hand(self, helm: Helm, revision: int) -> list[dict[str, Any]]:
        """What somebody else has changed since ``revision`` was applied; not which images pods run meanwhile."""
        from triplane.kubernetes import drift
        from triplane.kubernetes.helm import Release
        from triplane.kubernetes.kube import Kubectl

        redact = settings.redactor()
        kubectl = Kubectl(helm.kubeconfig, self.kubectl_bin, redact=redact)
        items = drift.of_release(helm, Release(self.release, self.namespace), revision, kubectl)
        found, _ = drift.findings(drift.look(kubectl, items, drift.MANAGER), redact)
        return [item for item in found if not item["address"].startswith(drift.PODS)]

    def _with_objects(
        self, helm: Helm | None, change: ComponentChange, written: Written, observed: Observed, chart: Chart
    ) -> ComponentChange:
        """The change with the difference of each object, where all that the chart needs is known by now."""
        from triplane.core.errors import InputError, ToolError
        from triplane.core.process import private_dir, write_private
        from triplane.kubernetes.diff import objects
        from triplane.kubernetes.helm import Upgrade
        from triplane.kubernetes.plan import check_pinned, with_objects
        from triplane.kubernetes.render import Rendered, render, render_to_approve

        lookup = lookup_in(self.scope)
        if helm is None or not written.known(lookup):
            line = "! the objects cannot be shown: this deployment makes what the chart needs"
            return replace(change, lines=(*change.lines, line))
        serving = observed.serving
        with private_dir() as folder:

            def rendering(values: Mapping[str, Any]) -> dict[Key, Object]:
                file = write_private(folder / "values.json", json.dumps(values))
                upgrade = Upgrade(
                    release=written.release, chart=chart.path, values=file, description="", timeout=60
                )
                return render(helm, upgrade, exists=serving is not None, kubectl=self.kubectl_bin)

            shown = rendering(written.wanted(lookup).values)
            try:
                rendered = render_to_approve(chart.path, lambda: rendering(written.all_values))
            except (InputError, ToolError):  # the chart cannot do with a reference in the place of a number
                rendered = Rendered({}, bound=False)
        if observed.latest and observed.latest.pending:
            rendered = replace(rendered, bound=False)
        check_pinned(written, shown)
        old = objects(helm.manifest(written.release, serving.number), self.namespace) if serving else {}
        return with_objects(change, rendered, shown, old, settings.redactor())

    @contextmanager
    def _there(self) -> Iterator[Helm | None]:
        """Helm, talking to the cluster; None where this deployment has yet to make it."""
        from triplane.clouds.kubeconfig import ClusterNotFound

        if self.cluster_name() is None:
            self.log.info("%s is not known yet: a stack of this deployment makes the cluster", self.cluster)
            yield None
            return
        with ExitStack() as stack:
            try:
                helm = stack.enter_context(self.opened())
            except ClusterNotFound as error:
                self.log.info("%s; this deployment makes it", error)
                yield None
                return
            yield helm
