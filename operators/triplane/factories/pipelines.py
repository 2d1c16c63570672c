"""A cloud's native pipelines as tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triplane.factories.components import ENVIRONMENT, INTENT, Component
from triplane.factories.context import Build, retries
from triplane.factories.values import per_environment
from triplane.pipelines.component_operators import (
    PipelineComponentOperator,
    PipelineForgetOperator,
    PipelinePlanOperator,
)
from triplane.spec.model import AnyCloud, AwsCloud, AzureCloud, GcpCloud


def pipelines(build: Build, cloud: str, frozen: Any, pushed: Mapping[str, Any]) -> list[Component]:
    """One component for each entry under ``pipelines``: planned with all others, run after them."""
    found = []
    for name, body in build.platform.cloud(cloud).pipelines.items():
        address, shared = f"{cloud}/pipeline/{name}", _shared(build, cloud, name)
        plan = PipelinePlanOperator(
            task_id=f"{name}.plan",
            address=address,
            source=frozen.output["source"],
            commit=frozen.output["revision"],
            images={key: pushed[image].output for key, image in body.images.items()},
            risk=body.risk,
            on_rollback=body.rollback,
            intent=INTENT,
            trigger_rule="none_failed_min_one_success",
            **shared,
            **retries(),
        )
        waiting = {
            "approves": list(body.approves),
            "timeout": body.timeout.total_seconds(),
            "interval": body.interval.total_seconds(),
        }
        found.append(
            Component(
                address=address,
                plan=plan,
                apply_operator=PipelineComponentOperator,
                destroy_operator=PipelineForgetOperator,
                options={**shared, **waiting},
                takes_source=False,
            )
        )
    return found


def pipeline_components(build: Build, cloud: str) -> list[dict[str, Any]]:
    """The same for the drift check."""
    return [
        {"address": f"{cloud}/pipeline/{name}", **_place(build, cloud, name)}
        for name in build.platform.cloud(cloud).pipelines
    ]


def _shared(build: Build, cloud: str, name: str) -> dict[str, Any]:
    body = build.platform.cloud(cloud).pipelines[name]
    return {
        **_place(build, cloud, name),
        "inputs": per_environment(build.platform, body.inputs),
        "at_commit": body.revision == "source",
        "revision_input": body.revision_input or "",
    }


def _place(build: Build, cloud: str, name: str) -> dict[str, Any]:
    """Which pipeline, and in which environment."""
    spec = build.platform.cloud(cloud)
    body = spec.pipelines[name]
    options = {**_of_cloud(spec, body.kind), **body.options()}
    return {
        "scope": f"{ENVIRONMENT}/{cloud}",
        "system": body.kind,
        "options": per_environment(build.platform, options),
    }


def _of_cloud(spec: AnyCloud, kind: str) -> dict[str, str]:
    """What the cloud's own systems take from the cloud."""
    match spec, kind:
        case AwsCloud(), "codebuild" | "codepipeline":
            return {"region": spec.region, "conn_id": spec.connection}
        case GcpCloud(), "cloud_deploy":
            return {"region": spec.region, "project": spec.project, "conn_id": spec.connection}
        case AzureCloud(), "azure_pipelines":
            return {"conn_id": spec.connection}
    return {}
