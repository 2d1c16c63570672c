"""What the spec says about an image's builder."""

from __future__ import annotations

from pathlib import Path

import pytest

from triplane.spec.load import load, problems_of

SPEC = """\
version: 1
name: shop
environments: {staging: {}}
images:
  api:
    context: api
    builder: {builder}
    platforms: {platforms}
clouds:
  aws: {region: eu-west-1}
  gcp:
    project: shop
    region: europe-west1
    registry: europe-west1-docker.pkg.dev/shop/images
"""


def write(path: Path, builder: str, platforms: str = "[]") -> Path:
    file = path / "platform.yaml"
    file.write_text(SPEC.replace("{builder}", builder).replace("{platforms}", platforms))
    (path / "api").mkdir()
    (path / "api" / "Dockerfile").write_text("FROM scratch\n")
    return file


def test_auto_is_the_default_and_several_platforms_are_fine(tmp_path: Path) -> None:
    file = write(tmp_path, "auto", "[linux/amd64, linux/arm/v7]")
    image = load(file).images["api"]
    assert (image.builder, image.platforms) == ("auto", ("linux/amd64", "linux/arm/v7"))
    assert load(write(tmp_path / "api", "cloud_build")).images["api"].builder == "cloud_build"


@pytest.mark.parametrize(
    ("builder", "platforms", "problem"),
    [
        ("codebuild", "[]", "7:14: codebuild builds in aws, which has no 'registry' here"),
        ("codebuild", "[]", "7:14: codebuild builds in aws, which has no 'codebuild' here"),
        ("acr_tasks", "[]", "7:14: acr_tasks builds in azure, which has no 'registry' here"),
        ("cloud_build", "[linux/amd64, linux/arm64]", "8:16: cloud_build builds for one platform at a time"),
        ("docker", "[linux/amd64, linux/arm64]", "8:16: docker builds for one platform at a time"),
        ("kaniko", "[]", "7:14: "),
        ("buildah", "[arm64]", "8:17: "),
    ],
)
def test_what_a_builder_lacks_is_said_with_its_line(
    builder: str, platforms: str, problem: str, tmp_path: Path
) -> None:
    assert any(problem in str(found) for found in problems_of(write(tmp_path, builder, platforms)))
