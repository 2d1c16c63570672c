"""Each builder of the spec as the task that builds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from triplane.factories.parent import parent_dag
from triplane.images.native_operators import NativeImageBuildOperator
from triplane.images.operators import ImageBuildOperator

SPEC = """\
version: 1
name: shop
environments: {staging: {}}
images:
  api: {context: api, builder: BUILDER, platforms: [linux/arm64]}
clouds:
  aws:
    connection: my_aws
    region: eu-west-1
    registry: 1.dkr.ecr.eu-west-1.amazonaws.com
    repositories: {create: true}
    codebuild: {project: images, bucket: shop-builds}
  gcp:
    project: shop
    region: europe-west1
    registry: europe-west1-docker.pkg.dev/shop/images
    cloud_build: {service_account: b@shop.iam.gserviceaccount.com}
  azure:
    resource_group: shop
    location: westeurope
    registry: shop.azurecr.io
"""


def task(path: Path, builder: str) -> Any:
    file = path / "platform.yaml"
    file.write_text(SPEC.replace("BUILDER", builder))
    dag = parent_dag(str(file))
    assert dag is not None
    return dag.get_task("images.api.build")


@pytest.mark.parametrize("builder", ["auto", "buildah", "docker"])
def test_a_builder_of_the_worker(builder: str, tmp_path: Path) -> None:
    found = task(tmp_path, builder)
    assert type(found) is ImageBuildOperator
    assert (found.builder, found.platforms) == (builder, ("linux/arm64",))


@pytest.mark.parametrize(
    ("builder", "service"),
    [
        (
            "codebuild",
            {
                "conn_id": "my_aws",
                "registry": "1.dkr.ecr.eu-west-1.amazonaws.com",
                "region": "eu-west-1",
                "project": "images",
                "bucket": "shop-builds",
                "create": {"immutable_tags": False, "scan_on_push": False},
            },
        ),
        (
            "cloud_build",
            {
                "conn_id": "google_cloud_default",
                "registry": "europe-west1-docker.pkg.dev/shop/images",
                "region": "europe-west1",
                "project": "shop",
                "create": None,
                "service_account": "b@shop.iam.gserviceaccount.com",
            },
        ),
        (
            "acr_tasks",
            {"conn_id": "azure_default", "registry": "shop.azurecr.io", "resource_group": "shop"},
        ),
    ],
)
def test_a_service_of_a_cloud(builder: str, service: dict[str, str], tmp_path: Path) -> None:
    found = task(tmp_path, builder)
    assert type(found) is NativeImageBuildOperator
    assert (found.builder, found.service, found.deferrable) == (builder, service, True)
    assert [link.name for link in found.operator_extra_links] == ["Build"]
