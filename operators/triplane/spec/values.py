"""The small values a spec is made of: names, paths, durations."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
)
from pydantic import WithJsonSchema as JsonSchema

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DURATION = re.compile(r"(?:\d+[smhd])+")


def parse_duration(value: Any) -> Any:
    """``"1h30m"`` -> ``timedelta``; a timedelta stays what it is."""
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        raise ValueError("a duration is written like 30s, 15m, 4h, 2d or 1h30m")
    parts = re.findall(r"(\d+)([smhd])", value)
    duration = sum((timedelta(**{_UNITS[unit]: int(count)}) for count, unit in parts), timedelta())
    if not duration:
        raise ValueError("a duration must be longer than nothing")
    return duration


def print_duration(value: timedelta) -> str:
    """``timedelta`` -> ``"1h30m"``, which :func:`parse_duration` reads back."""
    minutes, seconds = divmod(int(value.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (seconds, "s"))
    return "".join(f"{count}{unit}" for count, unit in parts if count)


def _inside(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("the path must stay inside the source (relative to the spec, without '..')")
    if "$" in value:
        raise ValueError("a path cannot hold a reference: it is frozen with the source")
    return str(path)


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    JsonSchema({"type": "string", "pattern": r"^(\d+[smhd])+$", "examples": ["30m", "24h"]}),
]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9_-]*[a-z0-9])?$", max_length=40)]
"""Names become task ids, addresses (``aws/stack/network``) and parts of references."""
DnsName = Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]*[a-z0-9])?$", max_length=50)]
"""Names that Kubernetes, registries and function services take as they are."""
AirflowName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$")]
"""Names of Airflow Variables and connections that can be written as a reference."""
SourcePath = Annotated[str, AfterValidator(_inside)]


class Value(BaseModel):
    """Immutable, and a key that it does not know is an error.

    Validators are built when they are first used: only that of the whole platform ever is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)
