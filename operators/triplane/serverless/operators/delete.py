"""Deletes functions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from triplane.applying import Applying
from triplane.serverless.operators.base import PATIENCE_SECONDS, ServerlessOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class ServerlessDeleteOperator(Applying, ServerlessOperator):
    """Delete a function, with all its versions. One that is gone already is fine.

    Takes the same arguments as the :class:`ServerlessPlanOperator` with ``intent="destroy"`` that made the
    change. Returns a ``Result`` as JSON.
    """

    template_fields: Sequence[str] = (*ServerlessOperator.template_fields, *Applying.approval_fields)

    def work(self, context: Context) -> dict[str, Any]:
        from triplane.serverless.target import Waiting, check_destroys

        begin = time.monotonic()
        approved = self.approved(context)
        if approved and not approved.changed:
            return self.result("unchanged", "", begin)
        target = self.connect()
        self.link(context)
        observed = target.observe(self.name)
        if approved:
            check_destroys(approved, self.name, observed)
        patience = begin + PATIENCE_SECONDS
        while isinstance(progress := target.delete(self.name), Waiting):
            self.pause(progress, patience)
        self.keep(None)
        return self.result("destroyed", "", begin)
