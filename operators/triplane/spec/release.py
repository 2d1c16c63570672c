"""How the clouds of one deployment belong together: in which order, and what happens when one fails."""

from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic import WithJsonSchema as JsonSchema

from triplane.spec.gates import GateNames
from triplane.spec.values import Duration, Value

CloudName = Literal["aws", "gcp", "azure"]
_CLOUD = {"enum": ["aws", "gcp", "azure"]}


def _stage(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Stage = Annotated[
    tuple[CloudName, ...],
    Field(min_length=1, strict=False),
    BeforeValidator(_stage),
    JsonSchema({"anyOf": [_CLOUD, {"type": "array", "items": _CLOUD, "minItems": 1}]}),
]
"""A cloud, or several that are applied side by side."""


class EnvironmentRelease(Value):
    """What a release means in one environment."""

    policy: Literal["best_effort", "all_or_nothing", "quorum"] = "best_effort"
    quorum: Annotated[int, Field(ge=1, le=3)] | None = None
    """How many clouds must end well, for ``policy: quorum``."""
    gate: GateNames = ()
    """What must be good after one stage of ``order``, before the next one begins."""
    wait_limit: Duration = timedelta(hours=12)
    """How long the parent waits for one cloud."""
    supersede: bool = False
    """Whether a newer run takes the place of an older one that has applied nothing yet."""

    @model_validator(mode="after")
    def _quorum_is_said(self) -> Self:
        if (self.policy == "quorum") != (self.quorum is not None):
            raise ValueError("'policy: quorum' and 'quorum' need each other")
        return self

    def promise(self) -> dict[str, Any]:
        """What people approve with the change set; empty where nothing is ever rolled back by itself."""
        if self.policy == "best_effort":
            return {}
        return {"policy": self.policy, **({"quorum": self.quorum} if self.quorum else {})}


class Release(EnvironmentRelease):
    """The same for all environments that say nothing else, and the order of the clouds, which is one for all."""

    order: Annotated[tuple[Stage, ...], Field(strict=False)] = ()
    """Stages that are applied one after the other."""

    def stages(self, used: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """The order; without one, all clouds are one stage."""
        return self.order or (used,)
