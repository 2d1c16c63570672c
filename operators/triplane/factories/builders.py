"""Which operator builds an image, and where."""

from __future__ import annotations

from typing import Any

from triplane.factories.context import Build
from triplane.images.operators import ImageBuildOperator
from triplane.spec.images import Image
from triplane.spec.model import AwsCloud, AzureCloud, GcpCloud


def builder(build: Build, image: Image) -> tuple[Any, dict[str, Any]]:
    """The operator for ``image``, and its arguments about the builder."""
    match image.builder:
        case "codebuild":
            service = _codebuild(build.platform.cloud("aws"))
        case "cloud_build":
            service = _cloud_build(build.platform.cloud("gcp"))
        case "acr_tasks":
            service = _acr_tasks(build.platform.cloud("azure"))
        case _:
            return ImageBuildOperator, {"builder": image.builder}
    from triplane.images.native_operators import NativeImageBuildOperator  # only where a service builds

    return NativeImageBuildOperator, {"builder": image.builder, "service": service}


def _codebuild(cloud: Any) -> dict[str, Any]:
    assert isinstance(cloud, AwsCloud)
    assert cloud.codebuild
    create = cloud.repositories.options()
    return {**_common(cloud), "region": cloud.region, "create": create, **cloud.codebuild.asdict()}


def _cloud_build(cloud: Any) -> dict[str, Any]:
    assert isinstance(cloud, GcpCloud)
    own = cloud.cloud_build.asdict()
    create = cloud.repositories.options()
    return {**_common(cloud), "region": cloud.region, "project": cloud.project, "create": create, **own}


def _acr_tasks(cloud: Any) -> dict[str, Any]:
    assert isinstance(cloud, AzureCloud)
    return {**_common(cloud), "resource_group": cloud.resource_group}


def _common(cloud: Any) -> dict[str, Any]:
    return {"conn_id": cloud.connection, "registry": cloud.registry}
