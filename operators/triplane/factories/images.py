"""The images of a platform as tasks: built once, pushed to each cloud, compared before anything is deployed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triplane.factories.builders import builder
from triplane.factories.context import Build, retries
from triplane.factories.values import per_environment, secret_reference
from triplane.images.fetch_operator import ImageFetchOperator
from triplane.images.operators import ImagePushOperator
from triplane.images.parity import RegistryParityOperator
from triplane.spec.model import AwsCloud, GcpCloud

DESTROYS = "{{ params.action == 'destroy' }}"


def image_name(build: Build, name: str) -> str:
    """What an image is called in every registry."""
    return f"{build.platform.name}/{name}"


def build_image(build: Build, name: str, frozen: Any) -> Any:
    """The task that builds one image of the platform, or finds it built; or fetches one that others have built."""
    image = build.platform.images[name]
    if image.reference is not None:
        return ImageFetchOperator(
            task_id=f"{name}.fetch",
            image=image_name(build, name),
            reference=image.reference,
            digest=image.digest or "",
            logins=_logins(build),
            skip=DESTROYS,
            multiple_outputs=True,
            **retries(),
        )
    operator, options = builder(build, image)
    return operator(
        task_id=f"{name}.build",
        image=image_name(build, name),
        source=frozen.output["source"],
        path=image.context,
        dockerfile=image.dockerfile,
        build_args=per_environment(build.platform, image.args),
        labels=per_environment(build.platform, image.labels),
        known=frozen.output["images"],
        folder=build.checkout,
        revision=frozen.output["revision"],
        logins=_logins(build),
        platforms=image.platforms,
        skip=DESTROYS,
        multiple_outputs=True,
        **options,
        **retries(),
    )


def built_images(build: Build, cloud: str, frozen: Any) -> dict[str, Any]:
    """Name -> the task that builds it, of the images that a cloud uses, and of those that tests run in."""
    used = set(build.platform.images_of(cloud))
    used |= {test.image for test in build.platform.tests.values() if test.image and not test.cloud}
    return {name: build_image(build, name, frozen) for name in build.platform.images if name in used}


def pushed_images(build: Build, cloud: str, built: Mapping[str, Any]) -> dict[str, Any]:
    """Name -> the task whose result is the image's reference in this cloud's registry."""
    spec = build.platform.cloud(cloud)
    pushed = {}
    for name in build.platform.images_of(cloud):
        pushed[name] = ImagePushOperator(
            task_id=f"{name}.push",
            image=image_name(build, name),
            digest=built[name].output["digest"],
            registry=spec.registry or "",
            cloud=cloud,
            conn_id=spec.connection,
            create=spec.repositories.options() if isinstance(spec, AwsCloud | GcpCloud) else None,
            signing=_signing(build),
            **retries(),
        )
    return pushed


def built_digests(build: Build, built: Mapping[str, Any]) -> dict[str, Any]:
    """Image name -> what its task built, for the runs that are started for each cloud."""
    return {image_name(build, name): task.output["digest"] for name, task in built.items()}


def registry_parity(build: Build, built: Mapping[str, Any]) -> RegistryParityOperator | None:
    """The task that compares what the registries serve; None where no image is used."""
    registries = {
        cloud: {
            "registry": spec.registry or "",
            "conn_id": spec.connection,
            "images": [image_name(build, name) for name in build.platform.images_of(cloud)],
        }
        for cloud, spec in build.platform.used_clouds().items()
        if build.platform.images_of(cloud)
    }
    if not registries:
        return None
    return RegistryParityOperator(
        task_id="parity",
        digests=built_digests(build, built),
        registries=registries,
        skip=DESTROYS,
        trigger_rule="none_failed",
        **retries(),
    )


def _signing(build: Build) -> dict[str, Any] | None:
    signing = build.platform.signing
    if signing is None:
        return None
    key = signing.key if signing.in_kms else secret_reference(build.platform, signing.key)
    password = secret_reference(build.platform, signing.password) if signing.password else ""
    return {"key": key, "password": password, "transparency_log": signing.transparency_log}


def _logins(build: Build) -> dict[str, dict[str, str]]:
    """Base images may be in the platform's own registries."""
    return {
        spec.registry.partition("/")[0]: {"cloud": cloud, "conn_id": spec.connection}
        for cloud, spec in build.platform.used_clouds().items()
        if spec.registry
    }
