"""The small values a spec is made of: names, paths, durations."""

import re
from collections.abc import Mapping
from datetime import date, time, timedelta
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

from triplane.core.errors import InputError

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


def _values_file(value: str) -> str:
    rest = value.replace("${environment}", "e")
    if "$" in rest:
        raise ValueError("the only reference that the name of a values file may hold is ${environment}")
    _inside(rest)
    return str(PurePosixPath(value))


def _version(value: str) -> str:
    if not re.fullmatch(r"v?\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?", value):
        raise ValueError("write one version (1.2.3): with a range each plan might take another chart")
    return value


def _repository(value: str) -> str:
    if not re.fullmatch(r"(https?|oci)://[^\s$@]+", value):
        raise ValueError("a chart repository is https://… or oci://…; a login comes from 'connection'")
    return value


def _tool(value: str) -> str:
    if not re.fullmatch(r"/[^\s$]+|[A-Za-z0-9][A-Za-z0-9._-]*", value):
        raise ValueError("a program is named as on PATH (tofu) or by its absolute path on the workers")
    return value


def _constraint(value: str) -> str:
    from triplane.core.constraints import parse

    try:
        parse(value)
    except InputError as error:
        raise ValueError(str(error)) from None
    return value


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
ValuesFile = Annotated[str, AfterValidator(_values_file)]
"""A file of the source; ``${environment}`` in its name is replaced."""
ChartVersion = Annotated[str, AfterValidator(_version)]
ChartRepository = Annotated[str, AfterValidator(_repository)]
ToolPath = Annotated[str, AfterValidator(_tool)]
"""A program: its name on PATH, or an absolute path on the workers."""
ImagePlatform = Annotated[str, StringConstraints(pattern=r"^[a-z]+/[a-z0-9]+(/v\d+)?$")]
"""``linux/amd64``, ``linux/arm/v7``."""
SigningKey = Annotated[
    str,
    StringConstraints(
        pattern=r"^([a-z]([a-z0-9_-]*[a-z0-9])?|(awskms|gcpkms|azurekms|hashivault)://[^\s$]+)$"
    ),
]
"""Name of a secret that holds a private key, or the URL of a key in a KMS."""
VersionConstraint = Annotated[str, AfterValidator(_constraint)]


class Value(BaseModel):
    """Immutable, and a key that it does not know is an error.

    Validators are built when they are first used: only that of the whole platform ever is. No names are protected,
    which would be looked for in each class of every process that parses a DAG file.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, defer_build=True, protected_namespaces=()
    )

    def asdict(self, *names: str) -> dict[str, Any]:
        """The fields that have a value - of those ``names``, if any are given - as JSON has them; durations in seconds.

        ``model_dump`` would build a serializer first, in every process that parses a DAG file.
        """
        return {
            name: _plain(value) for name, value in self if value is not None and (not names or name in names)
        }


def _plain(value: Any) -> Any:
    """What a field holds, as JSON has it."""
    if isinstance(value, (str, int)):
        return value
    if isinstance(value, timedelta):
        return int(value.total_seconds())
    if isinstance(value, Value):
        return value.asdict()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, time):
        return value.isoformat("minutes")
    return value.isoformat() if isinstance(value, date) else value
