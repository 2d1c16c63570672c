"""What the people who were asked decided, cloud by cloud."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from triplane import settings

if TYPE_CHECKING:
    from airflow.sdk import Context


class DecisionOperator(BaseOperator):
    """Say which clouds are held back: ``{"held": {cloud: who and why}}``.

    It is there for people and for the tasks that are skipped then. Whoever applies checks the decisions by itself.

    :param decisions: what the approval tasks returned (templated)
    """

    template_fields: Sequence[str] = ("decisions",)

    def __init__(self, *, decisions: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.decisions = decisions

    def execute(self, context: Context) -> dict[str, dict[str, str]]:
        """Read the signed decisions."""
        from triplane.core.approval import Decision
        from triplane.core.errors import TerminalError

        held: dict[str, str] = {}
        try:
            keys = settings.signing_keys()
            for value in self.decisions or ():
                decision = Decision.from_json(value)
                if not decision.signed_by(keys):
                    raise AirflowFailException("an approval was not signed by a worker of this installation")
                why = f": {decision.reason}" if decision.reason else ""
                held |= dict.fromkeys(decision.held, f"held back by {decision.responder}{why}")
        except TerminalError as error:
            raise AirflowFailException(str(error)) from error
        for cloud, text in held.items():
            self.log.warning("%s is %s", cloud, text)
        return {"held": held}
