"""What a deployment of a function would change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from triplane import sealing
from triplane.serverless.airflow import redacted
from triplane.serverless.operators.base import ServerlessOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class ServerlessPlanOperator(ServerlessOperator):
    """Say what a deployment would change, and change nothing. Returns a ``ComponentChange`` as JSON.

    What somebody changed by hand at the cloud shows too; values of environment variables never do.

    :param intent: ``destroy`` plans to delete the function, all else to deploy it (templated)
    """

    template_fields: Sequence[str] = (*ServerlessOperator.template_fields, "intent")

    def __init__(self, *, intent: str = "deploy", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.intent = intent

    def work(self, context: Context) -> dict[str, Any]:
        from triplane.serverless import gating
        from triplane.serverless.target import check_options, how, plan, plan_to_destroy

        target, observed = self.look()
        self.link(context)
        if self.intent == "destroy":
            change = plan_to_destroy(self.address, self.name, observed)
        else:
            desired = self.desired(image=self.image, strict=False)
            check_options(target, desired)
            gating.check(self.gate)
            change = redacted(plan(self.address, desired, observed, how(target, *self.how(), self.gate)))
            if not change.changed:
                self.keep(observed, again=False)
        self.log.info("%s: %s (risk %s), %s", self.address, change.action, change.risk, change.summary)
        for line in change.lines:
            self.log.info("  %s", line)
        return sealing.seal(context, change)
