"""Look for drift in a cloud's functions, in one task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

    def deployed_by(self, task_id: str, arguments: dict[str, Any]) -> ServerlessOperator:
        return ServerlessOperator(task_id=task_id, **arguments)

    def look_up(self, stack: ExitStack) -> None:
        from triplane.serverless.drift import kept_key, pending

        self.kept = named(kept_key(self.operator.scope, self.operator.address))
        self.target = self.operator.connect(strict=self.kept is not None)
        if self.kept is not None:
            image = None if self.operator.path else self.kept["artifact"]
            self.pending = pending(self.kept, self.operator.desired(image=image, strict=False))

    def look(self) -> Seen:
        from triplane.serverless.drift import findings

        if self.kept is None:
            return Seen(pending="it was never deployed")
        name = self.operator.name
        return Seen(findings(name, self.kept, self.target.observe(name)), self.pending)


class ServerlessDriftBatchOperator(CheckingOperator):
    """Compare functions and serverless containers with what was deployed, see
    :class:`triplane.checking.CheckingOperator`.

    :param functions: for each the arguments of a :class:`ServerlessOperator`, without ``image``; ``ignore`` as for
        stacks (templated)
    """

    ui_color = "#fdebd3"
    component = _Function

    def __init__(self, *, functions: Sequence[Mapping[str, Any]], **kwargs: Any) -> None:
        super().__init__(components=functions, **kwargs)
