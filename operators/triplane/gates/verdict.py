"""Whether a deployment may go on, and the observations that this rests on. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from triplane.core.digest import digest
from triplane.gates.check import Check, Sample

State = Literal["pass", "fail", "no_data"]
MOST_SAMPLES = 100


@dataclass(frozen=True)
class Verdict:
    """Only ``pass`` lets a deployment go on: what could not be observed (``no_data``) is never taken for good.

    Of many samples the last ones are kept; ``observed`` counts them all. ``asks``: there is no data, and a person may
    decide; ``waived`` says who has let it go on.
    """

    state: State
    reason: str
    observed: int
    samples: tuple[Sample, ...] = ()
    asks: bool = False
    waived: str = ""

    @property
    def passed(self) -> bool:
        """Whether what was asked is good."""
        return self.state == "pass"

    @property
    def goes_on(self) -> bool:
        """Whether the deployment may go on: it is good, or a person said so where nothing tells."""
        return self.passed or (self.state == "no_data" and bool(self.waived))

    @property
    def counted(self) -> str:
        """What it counts as in metrics: its state, or that a person let it go on."""
        return "waived" if self.waived else self.state

    @property
    def told(self) -> str:
        """How it goes on, for logs: what follows "the gate"."""
        return f"has no data: {self.reason}; {self.waived}" if self.waived else f"passed: {self.reason}"

    @property
    def digest(self) -> str:
        """Of all that was observed."""
        return digest(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Plain values for events and XCom."""
        return {**asdict(self), "samples": [asdict(sample) for sample in self.samples]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Verdict:
        """The inverse of :meth:`to_json`."""
        return cls(**{**value, "samples": tuple(Sample(**sample) for sample in value["samples"])})


class Watch:
    """One check over a time that begins at ``begun``, in seconds since 1970.

    It passes once all that was seen was good for ``check.lasting`` without a break. A sample that is bad decides at once.
    Silence is a break: after it the time is counted anew. A break after that time and ``check.patience`` ends it.
    """

    def __init__(self, check: Check, begun: float) -> None:
        self.check = check
        self.end = begun + check.lasting + check.patience
        self._good_since: float | None = None
        self._silent = 0
        self._observed = 0
        self._samples: deque[Sample] = deque(maxlen=MOST_SAMPLES)

    def add(self, sample: Sample, now: float) -> Verdict | None:
        """The verdict, None while it takes more samples."""
        self._samples.append(sample)
        self._observed += 1
        if sample.good is False:
            return self.verdict("fail", f"{sample.text} at {sample.at}")
        if sample.good is None:
            return self._silence(sample, now)
        if self._good_since is None:
            self._good_since = now
        if now - self._good_since >= self.check.lasting:
            return self.verdict(
                "pass", f"good {self._observed - self._silent} times, the last: {sample.text}"
            )
        return None

    def _silence(self, sample: Sample, now: float) -> Verdict | None:
        self._silent += 1
        self._good_since = None
        if self.check.no_data == "fail" or now >= self.end:
            return self.verdict("no_data", f"nothing was observed: {sample.text}")
        return None

    def verdict(self, state: State, reason: str) -> Verdict:
        """What is known so far, as a verdict."""
        named = f"{self.check.name}: {reason}" if self.check.name else reason
        asks = state == "no_data" and self.check.no_data == "ask"
        return Verdict(state, named, self._observed, tuple(self._samples), asks)

    def left(self, now: float) -> float:
        """Seconds until it can pass, or is given up."""
        end = self.end if self._good_since is None else self._good_since + self.check.lasting
        return max(0.0, end - now)


def combine(verdicts: Mapping[str, Verdict]) -> Verdict:
    """One verdict of several checks: the worst, with everything that was observed. It asks if all without data do."""
    worst = [
        verdict
        for state in ("fail", "no_data", "pass")
        for verdict in verdicts.values()
        if verdict.state == state
    ]
    if not worst:
        return Verdict("no_data", "nothing was asked", 0)
    decisive = [verdict for verdict in worst if verdict.state == worst[0].state]
    samples = sorted((sample for each in worst for sample in each.samples), key=lambda sample: sample.at)
    return Verdict(
        worst[0].state,
        "; ".join(verdict.reason for verdict in decisive),
        sum(verdict.observed for verdict in worst),
        tuple(samples[-MOST_SAMPLES:]),
        all(verdict.asks for verdict in decisive),
    )
