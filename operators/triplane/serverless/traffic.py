"""How traffic goes over to a new version: at once, through canary steps, or evenly. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from triplane.core.errors import InputError

Strategy = Literal["all_at_once", "canary", "linear"]


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """A strategy.

    ``canary`` gives the new version each of ``steps`` percent in turn, ``linear`` each time ``step`` percent more;
    both wait ``wait`` seconds after a step, ask the smoke test again, and end with 100.

    :raises InputError: steps that do not rise, or leave 1 to 99
    """

    strategy: Strategy = "all_at_once"
    steps: tuple[int, ...] = (10,)
    step: int = 20
    wait: float = 60.0

    def __post_init__(self) -> None:
        if any(not 0 < percent < 100 for percent in (*self.steps, self.step)):
            raise InputError("traffic: a step is from 1 to 99 percent; 100 comes by itself at the end")
        if list(self.steps) != sorted(set(self.steps)):
            raise InputError("traffic: `steps` must rise, for example [10, 50]")
        if self.wait < 0:
            raise InputError("traffic: `wait` cannot be negative")

    @classmethod
    def from_json(cls, values: Mapping[str, Any] | None) -> Self:
        """What :meth:`to_json` gives; None is all at once."""
        found = dict(values or {})
        if "steps" in found:
            found["steps"] = tuple(found["steps"])
        return cls(**found)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "steps": list(self.steps)}

    def percents(self) -> tuple[int, ...]:
        """What the new version gets, one step after the other; the last is 100."""
        match self.strategy:
            case "all_at_once":
                return (100,)
            case "canary":
                return (*self.steps, 100)
            case "linear":
                return (*range(self.step, 100, self.step), 100)

    def told(self) -> str:
        """For people, and for what an approval covers."""
        percents = self.percents()
        shares = " -> ".join(f"{percent} %" for percent in percents)
        return shares if len(percents) == 1 else f"{shares}, {self.wait:g} s between them"
