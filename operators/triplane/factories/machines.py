"""A cloud's machines as tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from triplane.core.references import references
from triplane.factories.components import ENVIRONMENT, INTENT, Component, credential_options
from triplane.factories.context import Build, retries
from triplane.factories.values import per_environment, secret_reference
from triplane.machines.operators import AnsibleApplyOperator, AnsibleDestroyOperator, AnsiblePlanOperator


def machines(build: Build, cloud: str, frozen: Any, stacks: Sequence[Component]) -> list[Component]:
    """One component for each entry under ``machines``, each after those that it comes after.

    It is planned after the stacks that it refers to, or all where an inventory plugin looks for the machines.
    """
    found = []
    for name in build.platform.machine_order(cloud):
        options = machine_options(build, cloud, name)
        address = f"{cloud}/machines/{name}"
        plan = AnsiblePlanOperator(
            task_id=f"{name}.plan",
            address=address,
            source=frozen.output["source"],
            intent=INTENT,
            after=_after(build, cloud, name, stacks),
            trigger_rule="none_failed_min_one_success",
            **options,
            **retries(),
        )
        found.append(
            Component(
                address=address,
                plan=plan,
                apply_operator=AnsibleApplyOperator,
                destroy_operator=AnsibleDestroyOperator,
                options=options,
                after=tuple(
                    f"{cloud}/machines/{other}" for other in build.platform.cloud(cloud).machines[name].after
                ),
            )
        )
    return found


def _after(build: Build, cloud: str, name: str, stacks: Sequence[Component]) -> dict[str, Any]:
    """The plans of the stacks that say which machines there are, or what is done to them."""
    body = build.platform.cloud(cloud).machines[name]
    named = {reference.partition(".")[0] for reference in references(body.settings())}
    return {stack.name: stack.plan.output for stack in stacks if body.inventory or stack.name in named}


def machine_options(build: Build, cloud: str, name: str) -> dict[str, Any]:
    """What planning, applying and checking machines need."""
    spec = build.platform.cloud(cloud)
    body = spec.machines[name]
    written = {key: per_environment(build.platform, value) for key, value in body.settings().items()}
    access = {"cloud": cloud, "cloud_conn_id": spec.connection, "cloud_options": credential_options(spec)}
    return {
        "playbook": body.playbook,
        "destroy_playbook": body.destroy_playbook,
        "scope": f"{ENVIRONMENT}/{cloud}",
        **{key: secret_reference(build.platform, name) for key, name in body.secrets().items()},
        "login": body.login,
        "serial": list(body.serial),
        "gate": None if body.gate is None else per_environment(build.platform, body.gate.asdict()),
        "forks": body.forks,
        "timeout": None if body.timeout is None else body.timeout.total_seconds(),
        "stop_grace": body.stop_grace.total_seconds(),
        **written,
        **(access if body.credentials or body.login else {}),
    }
