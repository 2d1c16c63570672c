"""Look for drift in a cloud's functions, in one task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triplane.checking import CheckingOperator, Component, Seen, named
from triplane.serverless.operators import ServerlessOperator

if TYPE_CHECKING:
    from contextlib import ExitStack

    from triplane.serverless.target import Target


class _Function(Component):
    operator: ServerlessOperator
    kept: dict[str, Any] | None = None
    target: Target
    pending: str
    named: frozenset[str] = frozenset()

    def deployed_by(self, task_id: str, arguments: dict[str, Any]) -> ServerlessOperator:
        return ServerlessOperator(task_id=task_id, **arguments)

    def look_up(self, stack: ExitStack) -> None:
        from triplane.serverless.drift import kept_key, pending

        self.kept = named(kept_key(self.operator.scope, self.operator.address))
        self.target = self.operator.connect(strict=self.kept is not None)
        if self.kept is not None:
            self.named = frozenset(key for key, value in self.operator.options.items() if value is not None)
            image = None if self.operator.path else self.kept["artifact"]
            self.pending = pending(self.kept, self.operator.desired(image=image, strict=False))

    def look(self) -> Seen:
        from triplane.serverless.drift import findings, images

        if self.kept is None:
            return Seen(pending="it was never deployed")
        name = self.operator.name
        observed = self.target.observe(name)
        return Seen(
            findings(name, self.kept, observed, self.named),
            self.pending,
            missing=observed is None,
            images=() if self.operator.path else images(self.kept, observed),
        )


class ServerlessDriftBatchOperator(CheckingOperator):
    """Compare functions and serverless containers with what was deployed, see
    :class:`triplane.checking.CheckingOperator`.

    :param components: for each the arguments of a :class:`ServerlessOperator`, without ``image``; ``ignore`` as for
        stacks (templated)
    """

    ui_color = "#fdebd3"
    component = _Function
