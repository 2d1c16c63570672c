"""The platform's tests as tasks between images and plans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triplane.factories.components import ENVIRONMENT, cluster_options
from triplane.factories.context import Build, retries
from triplane.factories.values import per_environment
from triplane.spec.model import Tests
from triplane.testing.operators import TestOperator

NOT_RUN = "{{ params.action in ('rollback', 'destroy') }}"
"""What is gone back to was tested when it was deployed."""


def tasks_of_tests(
    build: Build,
    frozen: Any,
    built: Mapping[str, Any],
    *,
    cloud: str | None = None,
    pushed: Mapping[str, Any] | None = None,
) -> dict[str, TestOperator]:
    """Name -> task. Those in a cluster run only in the DAG of their ``cloud``, where their image is pushed."""
    return {
        name: _test(build, name, frozen, built, pushed or {})
        for name, test in build.platform.tests.items()
        if test.cloud in (None, cloud)
    }


def _test(
    build: Build, name: str, frozen: Any, built: Mapping[str, Any], pushed: Mapping[str, Any]
) -> TestOperator:
    test = build.platform.tests[name]
    return TestOperator(
        task_id=name,
        name=name,
        commands=list(test.commands),
        source=frozen.output["source"],
        path=test.path,
        runner=test.runner,
        report=test.report,
        environment=per_environment(build.platform, test.environment),
        timeout=test.timeout.total_seconds(),
        known=frozen.output["tests"],
        skip=NOT_RUN,
        trigger_rule="none_failed_min_one_success",
        **({"image": built[test.image].output["digest"]} if test.image else {}),
        **(_in_cluster(build, test, pushed) if test.cloud else {}),
        **retries(),
    )


def _in_cluster(build: Build, test: Tests, pushed: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "reference": pushed[test.image or ""].output,
        "cluster": cluster_options(build, test.cloud or ""),
        "namespace": test.namespace,
        "scope": f"{ENVIRONMENT}/{test.cloud}",
    }
