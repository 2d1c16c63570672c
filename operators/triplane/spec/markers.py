"""Where each rollout leaves a mark in monitoring."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from triplane.spec.gates import ResourceId, Url
from triplane.spec.values import AirflowName, Value


class Pushgateway(Value):
    """A Pushgateway of Prometheus."""

    url: Url | None = None
    """Where it is; or ``connection``."""
    connection: AirflowName | None = None
    """Airflow connection of type HTTP."""

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if not (self.url or self.connection):
            raise ValueError("give the 'url' of the Pushgateway, or an Airflow 'connection'")
        return self


class Markers(Value):
    """``clouds``: those whose own monitoring gets a mark of what was deployed there."""

    clouds: Annotated[tuple[Literal["aws", "gcp"], ...], Field(strict=False)] = ()
    application_insights: ResourceId | None = None
    """The resource in Azure that gets an annotation of what was deployed there."""
    pushgateway: Pushgateway | None = None
