"""What every operator that applies an approved change shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from triplane import authorized, standing

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.change import ComponentChange


class Applying(BaseOperator):
    """To be mixed into an operator that has an ``address`` and a ``scope``.

    :param change: the change to apply, as the plan operator returned it (templated); for DAGs without approval
    :param change_set: digest of the approved change set, instead of ``change`` (templated)
    :param authorization: ``{"decisions": [...]}``, the signed decisions on the change set (templated)
    """

    address: str
    scope: str
    approval_fields = ("change", "change_set", "authorization")

    def __init__(
        self, *, change: Any = None, change_set: str | None = None, authorization: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.change = change
        self.change_set = change_set
        self.authorization = authorization
        self.needs_approval = change_set is not None or authorization is not None
        """Fixed when the DAG is built: an edited XCom that empties ``change_set`` does not turn an approved
        deployment into one by hand."""

    def approved(self, context: Context) -> ComponentChange | None:
        """What may be applied now; None where the operator was built without any of the three, by hand.

        :raises RefusedError: it needs an approval and has none that holds, or its parent run waits no more
        :raises StaleError: the approved plan is too old
        """
        change = authorized.approved_change(context, self)
        if self.needs_approval:
            standing.check_parent(context, self.scope.rpartition("/")[2])
        return change
