"""A Helm release taken down."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from triplane.applying import Applying
from triplane.kubernetes.operators.base import HelmOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class HelmUninstallOperator(Applying, HelmOperator):
    """Uninstall a Helm release, with its history, and wait until what it made is gone.

    Takes the same arguments as the :class:`HelmPlanOperator` with ``intent="destroy"`` that made the change.
    Returns a ``Result`` as JSON. A release that is gone already, or whose cluster is, is fine.
    """

    template_fields: Sequence[str] = (*HelmOperator.template_fields, *Applying.approval_fields)

    def work(self, context: Context) -> dict[str, Any]:
        from triplane.kubernetes.helm import Release
        from triplane.kubernetes.plan import check_destroys

        begin = time.monotonic()
        approved = self.approved(context)
        if approved and not approved.changed:
            return self.result("unchanged", "", begin)
        release = Release(self.release, self.namespace)
        if self.cluster_name() is None:
            return self.result("destroyed", "", begin)
        with self.opened(self.job(context)) as helm:
            helm.settle()
            observed = helm.observe(release)
            if approved:
                check_destroys(approved, self.place, release, observed)
            if observed.latest is not None:
                helm.uninstall(release, int(self.timeout))
        return self.result("destroyed", "", begin)
