"""When drift is looked for, what is done about it, and what is known and accepted."""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from triplane.core.errors import InputError
from triplane.spec.values import Value


class DriftIgnore(Value):
    """A drift that is known and accepted until a date. ``resource`` and ``attribute`` are globs."""

    resource: str
    attribute: str = "*"
    reason: Annotated[str, Field(min_length=1)]
    until: Annotated[date, Field(strict=False)]


class Drift(Value):
    """How a component's drift is looked at."""

    ignore: Annotated[tuple[DriftIgnore, ...], Field(strict=False)] = ()


def _cron(value: Any) -> Any:
    from triplane.core import cron

    try:
        return cron.parse(str(value)).text
    except InputError as error:
        raise ValueError(str(error)) from None


class DriftPolicy(Value):
    """How an environment's drift is looked for, and what is done about it."""

    schedule: Annotated[str, BeforeValidator(_cron)] | None = None
    """Five fields, UTC unless Airflow is set up otherwise."""
    alarm_after: Annotated[int, Field(ge=1, le=100)] = 1
    """Checks in a row that must see a drift before it is an alarm."""
    on_drift: Annotated[tuple[Literal["notify", "deploy"], ...], Field(strict=False)] = ("notify",)
    """What an alarm does; nothing where it is empty."""
