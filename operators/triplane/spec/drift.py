"""Drift that is known and accepted."""

from datetime import date
from typing import Annotated

from pydantic import Field

from triplane.spec.values import Value


class DriftIgnore(Value):
    """A drift that is known and accepted until a date. ``resource`` and ``attribute`` are globs."""

    resource: str
    attribute: str = "*"
    reason: Annotated[str, Field(min_length=1)]
    until: Annotated[date, Field(strict=False)]

    def plain(self) -> dict[str, str]:
        """What an operator gets."""
        until = self.until.isoformat()
        return {"resource": self.resource, "attribute": self.attribute, "reason": self.reason, "until": until}


class Drift(Value):
    """How a component's drift is looked at."""

    ignore: Annotated[tuple[DriftIgnore, ...], Field(strict=False)] = ()
