"""Plain manifests and kustomize folders in a spec."""

from datetime import timedelta
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator

from triplane.spec.drift import Drift
from triplane.spec.values import DnsName, Duration, Name, SourcePath, Value

Reference = Annotated[str, StringConstraints(pattern=r"^\$\{[^}]+\}$")]
Count = Annotated[int, Field(ge=0)] | Reference
Limit = Annotated[int, Field(ge=0)] | Annotated[str, StringConstraints(pattern=r"^\d{1,3}%$")]
"""A number of pods, or a share of them: ``25%``."""
Workload = Annotated[
    str, StringConstraints(pattern=r"^(deployment|statefulset|daemonset)/[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
]
ObjectName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=63)]
DataKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+$")]
Plain = str | int | float | bool


class Autoscale(Value):
    """A HorizontalPodAutoscaler. ``cpu`` and ``memory`` are percent of what pods request."""

    min: Count = 1
    """Fewest pods."""
    max: Count
    """Most pods."""
    cpu: Annotated[int, Field(ge=1)] | None = None
    """Goal, percent of what pods request."""
    memory: Annotated[int, Field(ge=1)] | None = None
    """Goal, percent of what pods request."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.cpu is None and self.memory is None:
            raise ValueError("an autoscaler needs a goal: 'cpu' or 'memory'")
        return self


class WorkloadSettings(Value):
    """How many pods a workload has, and how they are replaced."""

    replicas: Count | None = None
    """Of a workload that does not scale by itself."""
    max_surge: Limit | None = None
    """How many more pods there may be meanwhile, or percent."""
    max_unavailable: Limit | None = None
    """How many fewer, or percent."""
    autoscale: Autoscale | None = None

    @model_validator(mode="after")
    def _one_owner(self) -> Self:
        if self.replicas is not None and self.autoscale is not None:
            raise ValueError("'replicas' and 'autoscale' want to set the same number; keep one of them")
        return self


class ExternalSecret(Value):
    """A secret that the External Secrets operator fetches from a ClusterSecretStore."""

    store: str
    """Name of the ClusterSecretStore."""
    keys: Annotated[dict[DataKey, str], Field(min_length=1)]
    """Key in the Secret -> ``path`` or ``path#property`` in the store."""


class CsiSecret(Value):
    """A secret that the cloud's Secrets Store CSI driver mounts."""

    keys: Annotated[dict[DataKey, str], Field(min_length=1)]
    """Key in the Secret -> name at the cloud."""
    parameters: dict[str, str] = {}
    """What else the provider needs, such as Azure's ``keyvaultName`` and ``tenantId``."""


class Manifests(Value):
    """Manifests that are applied on the server's side, and pruned when they go."""

    path: SourcePath | None = None
    namespace: DnsName = "default"
    images: dict[str, Name] = {}
    """Image as the manifests write it, without tag -> image name."""
    config: dict[ObjectName, dict[DataKey, Plain]] = {}
    secrets: dict[ObjectName, dict[DataKey, str]] = {}
    external_secrets: dict[ObjectName, ExternalSecret] = {}
    csi_secrets: dict[ObjectName, CsiSecret] = {}
    workloads: dict[Workload, WorkloadSettings] = {}
    timeout: Duration = timedelta(minutes=5)
    drift: Annotated[Drift, Field(default_factory=Drift)]

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not (self.path or self.config or self.secrets or self.external_secrets or self.csi_secrets):
            raise ValueError("there is nothing to apply: give a 'path', 'config' or secrets")
        return self

    def settings(self) -> dict[str, Any]:
        """What the operators take as it is written."""
        return self.asdict("config", "secrets", "external_secrets", "csi_secrets", "workloads")
