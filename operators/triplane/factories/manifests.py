"""A cloud's manifests as tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triplane.factories.components import ENVIRONMENT, INTENT, Component, cluster_options
from triplane.factories.context import Build, retries
from triplane.factories.values import per_environment


def manifests(build: Build, cloud: str, frozen: Any, pushed: Mapping[str, Any]) -> list[Component]:
    """One component for each entry under ``manifests``."""
    written = build.platform.cloud(cloud).manifests
    if not written:
        return []
    from triplane.kubernetes.manifest_operators import (
        ManifestsApplyOperator,
        ManifestsDeleteOperator,
        ManifestsPlanOperator,
    )

    found = []
    for name, body in written.items():
        options = manifest_options(build, cloud, name)
        address = f"{cloud}/manifests/{name}"
        plan = ManifestsPlanOperator(
            task_id=f"{name}.plan",
            address=address,
            source=frozen.output["source"],
            images={key: pushed[image].output for key, image in body.images.items()},
            intent=INTENT,
            trigger_rule="none_failed_min_one_success",
            **options,
            **retries(),
        )
        found.append(
            Component(
                address=address,
                plan=plan,
                apply_operator=ManifestsApplyOperator,
                destroy_operator=ManifestsDeleteOperator,
                options=options,
            )
        )
    return found


def manifest_options(build: Build, cloud: str, name: str) -> dict[str, Any]:
    """What planning, applying and checking manifests need."""
    body = build.platform.cloud(cloud).manifests[name]
    settings = {key: per_environment(build.platform, value) for key, value in body.settings().items()}
    return {
        "path": body.path,
        "scope": f"{ENVIRONMENT}/{cloud}",
        "namespace": body.namespace,
        "timeout": body.timeout.total_seconds(),
        **settings,
        **cluster_options(build, cloud),
    }
