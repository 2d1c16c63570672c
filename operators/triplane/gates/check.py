"""What a gate asks, and when an answer is good. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, Self, get_args

from triplane.core.errors import InputError

Against = Literal["nothing", "before", "baseline"]
Way = Literal["ratio", "difference"]
Silence = Literal["wait", "fail", "ask"]
SOURCES = ("http", "prometheus", "cloudwatch", "cloud_monitoring", "azure_monitor")


@dataclass(frozen=True)
class Sample:
    """One observation at a time (ISO 8601 with a zone). ``good`` is None where nothing could be observed."""

    at: str
    good: bool | None
    text: str
    check: str = ""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a source tells: ``values``, one a series, and none where there is no data; or, of what knows only good and
    bad, ``good``. ``ends`` is when the time of each value ends, in seconds since 1970; none: all are of now.
    """

    values: tuple[float, ...] = ()
    good: bool | None = None
    text: str = ""
    ends: tuple[float, ...] = ()

    @property
    def silent(self) -> bool:
        """Whether nothing was observed."""
        return self.good is None and not self.values

    def since(self, begun: float) -> Reading:
        """Without what is older than ``begun``: it tells nothing of what was deployed then."""
        if not self.ends:
            return self
        fresh = [(value, end) for value, end in zip(self.values, self.ends, strict=True) if end > begun]
        if not fresh:
            return Reading(
                text="the newest value is from before the gate began" if self.values else self.text
            )
        return replace(self, values=tuple(value for value, _ in fresh), ends=tuple(end for _, end in fresh))


@dataclass(frozen=True, kw_only=True)
class Check:
    """One question that is asked again and again. All times are in seconds.

    :param source: one of :data:`SOURCES`; ``query`` is what it takes, see its module
    :param at_most: with ``at_least`` the bounds of what is compared: each value itself, or with ``against`` its ratio
        to (or difference from) a reference: what the query gave ``before`` the deployment, or what ``baseline``, another
        query to the same source, gives at the same time
    :param lasting: for how long it must be good without a break
    :param every: between two looks
    :param no_data: ``wait`` for data that is missing, for ``patience`` in all, or ``fail`` at once, or ``ask`` a person
        after having waited; never pass
    """

    source: str
    query: Mapping[str, Any]
    name: str = ""
    at_most: float | None = None
    at_least: float | None = None
    against: Against = "nothing"
    by: Way = "ratio"
    baseline: Mapping[str, Any] | None = field(default=None)
    lasting: float = 60.0
    every: float = 15.0
    no_data: Silence = "wait"
    patience: float = 600.0

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise InputError(f"gate {self.name}: {self.source!r} is none of {', '.join(SOURCES)}")
        if self.no_data not in get_args(Silence):
            raise InputError(
                f"gate {self.name}: no_data {self.no_data!r} is none of {', '.join(get_args(Silence))}"
            )
        if not 0 < self.every <= self.lasting:
            raise InputError(f"gate {self.name}: `every` is more than nothing and at most `lasting`")
        if (self.against == "baseline") != (self.baseline is not None):
            raise InputError(f"gate {self.name}: `against: baseline` and `baseline` need each other")
        if self.against != "nothing" and not self.bounded:
            raise InputError(f"gate {self.name}: to compare {self.against}, say `at_most` or `at_least`")

    @property
    def bounded(self) -> bool:
        """Whether it says which values are good."""
        return self.at_most is not None or self.at_least is not None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_json`. :raises InputError: it makes no sense"""
        try:
            return cls(**value)
        except TypeError as error:
            raise InputError(f"gate {value.get('name', '')}: {error}") from error


def judge(check: Check, reading: Reading, reference: Reading | None, *, at: float, begun: float) -> Sample:
    """One sample: ``reading`` against the bounds, or against what ``reference`` gives.

    :param at: when it was asked; what is older than ``begun``, when the watch began, tells nothing
    :raises InputError: the check says not which values are good, or several series cannot be compared
    """
    time = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    reading = reading.since(begun)
    if reference is not None and check.against == "baseline":
        reference = reference.since(begun)
    for what, found in (("", reading), ("the reference: ", reference)):
        if found is not None and found.silent:
            return Sample(time, None, f"{what}{found.text or 'no data'}", check.name)
    if reading.good is not None:
        return Sample(time, reading.good, reading.text, check.name)
    if not check.bounded:
        raise InputError(f"gate {check.name}: say `at_most` or `at_least`, else no value is good or bad")
    measured = reading.values if reference is None else (_measured(check, reading, reference),)
    good = all(_inside(check, value) for value in measured)
    return Sample(time, good, _told(check, reading, reference, measured), check.name)


def _measured(check: Check, reading: Reading, reference: Reading) -> float:
    if len(reading.values) != 1 or len(reference.values) != 1:
        raise InputError(
            f"gate {check.name}: {len(reading.values)} series against {len(reference.values)}; "
            "let each query give one, for example with sum()"
        )
    value, other = reading.values[0], reference.values[0]
    if check.by == "difference":
        return value - other
    if value == other:
        return 1.0
    return value / other if other else math.copysign(math.inf, value)


def _inside(check: Check, value: float) -> bool:
    above = check.at_least is None or value >= check.at_least
    return above and (check.at_most is None or value <= check.at_most)


def _told(check: Check, reading: Reading, reference: Reading | None, measured: Sequence[float]) -> str:
    bounds = [
        f"{word} {bound:g}"
        for word, bound in (("at least", check.at_least), ("at most", check.at_most))
        if bound is not None
    ]
    worst = next((value for value in measured if not _inside(check, value)), measured[0])
    told = f"{worst:g}"
    if reference is not None:
        against = "before" if check.against == "before" else "of the baseline"
        sign = "x" if check.by == "ratio" else "more than"
        told = f"{reading.values[0]:g}, that is {told} {sign} the {reference.values[0]:g} {against}"
    return f"{told} ({' and '.join(bounds)})"
