"""Whether a release may go on, and the observations that this rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["pass", "fail", "no_data"]
MOST_SAMPLES = 100


@dataclass(frozen=True)
class Sample:
    """One observation at a time (ISO 8601 with a zone). ``good`` is None where nothing could be observed."""

    at: str
    good: bool | None
    text: str


@dataclass(frozen=True)
class Verdict:
    """Only ``pass`` lets a release go on: what could not be observed (``no_data``) is never taken for good.

    Of many samples the last ones are kept; ``observed`` counts them all.
    """

    state: State
    reason: str
    observed: int
    samples: tuple[Sample, ...]

    @property
    def passed(self) -> bool:
        """Whether the release may go on."""
        return self.state == "pass"

    def to_json(self) -> dict[str, Any]:
        """Plain values for events and XCom."""
        return {**asdict(self), "samples": [asdict(sample) for sample in self.samples]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Verdict:
        """The inverse of :meth:`to_json`."""
        return cls(**{**value, "samples": tuple(Sample(**sample) for sample in value["samples"])})


def judge(samples: Sequence[Sample]) -> Verdict:
    """All samples of the time that is judged must be good. One that is bad decides; so does one that is missing."""
    kept = tuple(samples[-MOST_SAMPLES:])
    bad = [sample for sample in samples if sample.good is False]
    silent = [sample for sample in samples if sample.good is None]
    if bad:
        return Verdict("fail", f"{bad[0].text} at {bad[0].at}", len(samples), kept)
    if len(silent) == len(samples):
        why = silent[0].text if silent else "it was never looked at"
        return Verdict("no_data", f"nothing was observed: {why}", len(samples), kept)
    if silent:
        reason = f"nothing was observed {len(silent)} of {len(samples)} times: {silent[0].text}"
        return Verdict("fail", reason, len(samples), kept)
    return Verdict("pass", f"good {len(samples)} times", len(samples), kept)
