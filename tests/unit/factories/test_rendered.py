"""What the tasks of a platform are given in each environment, rendered as Airflow does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from triplane import settings
from triplane.core.errors import InputError
from triplane.core.references import resolve
from triplane.factories.cloud import cloud_dag
from triplane.factories.parent import parent_dag
from triplane.factories.values import secret_reference
from triplane.spec.load import load

SPEC = """\
version: 1
name: shop
environments:
  staging: {variables: {size: small}}
  prod: {variables: {size: large}}
secrets:
  password: {variable: shop_password}
  token: {connection: shop_api}
images:
  api: {context: api, args: {STAGE: "${environment}"}}
clouds:
  aws:
    region: eu-west-1
    registry: registry.example.com
    state: {bucket: state}
    cluster: shop-${environment}
    stacks:
      network: {path: network, secrets: {db: password, api: token}}
    charts:
      api: {path: chart, images: {image: api}, values: {token: "${secret.token}"}}
    functions:
      hook: {target: lambda, path: hook, handler: a.b, runtime: python3.13, role: r}
      named:
        target: lambda
        path: hook
        handler: a.b
        runtime: python3.13
        role: r
        name: hook-${environment}-${env.size}
        environment: {TOKEN: "${secret.token}"}
  gcp:
    project: shop
    region: europe-west1
    registry: registry.example.com
    cluster: ${network.cluster}
    state: {bucket: state}
    stacks: {network: {path: network}}
    charts:
      api: {path: chart, images: {image: api}}
"""


@pytest.fixture
def spec(tmp_path: Path) -> str:
    file = tmp_path / "platform.yaml"
    file.write_text(SPEC)
    return str(file)


def aws(spec: str) -> DAG:
    dag = cloud_dag("aws", spec)
    assert dag is not None
    return dag


def rendered(dag: DAG, task_id: str, field: str, environment: str = "prod") -> Any:
    task: Any = dag.get_task(task_id)
    return task.render_template(getattr(task, field), {"params": {"environment": environment}})


def test_a_secret_is_a_variable_or_a_connection(spec: str) -> None:
    platform = load(spec, files=False)
    assert secret_reference(platform, "password") == "${variable.shop_password}"
    assert secret_reference(platform, "token") == "${connection.shop_api}"


@pytest.mark.parametrize(
    ("task_id", "field", "expected"),
    [
        (
            "infrastructure.network.plan",
            "variables",
            {"db": "${variable.shop_password}", "api": "${connection.shop_api}"},
        ),
        ("applications.api.plan", "values", {"token": "${connection.shop_api}"}),
        ("functions.named.deploy", "environment", {"TOKEN": "${connection.shop_api}"}),
    ],
)
def test_secrets_reach_stacks_charts_and_functions(
    spec: str, task_id: str, field: str, expected: Any
) -> None:
    assert rendered(aws(spec), task_id, field) == expected


def test_the_password_of_a_connection_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_API", "http://user:hunter2@example.com")
    assert resolve("Bearer ${connection.shop_api}", settings.lookup("prod/aws")) == "Bearer hunter2"
    assert "hunter2" not in settings.redactor()("Bearer hunter2")


@pytest.mark.parametrize("uri", [None, "http://example.com"])
def test_a_connection_that_is_missing_or_without_password(
    uri: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def connection(name: str) -> Any:
        from airflow.sdk import Connection
        from airflow.sdk.exceptions import AirflowNotFoundException

        if uri is None:
            raise AirflowNotFoundException(name)
        return Connection(conn_id=name, uri=uri)

    monkeypatch.setattr("airflow.sdk.BaseHook.get_connection", connection)
    with pytest.raises(InputError, match="no connection shop_api"):
        resolve("${connection.shop_api}", settings.lookup("prod/aws"))


def test_the_cluster_of_an_environment(spec: str) -> None:
    for task in ("applications.api.plan", "applications.api.deploy"):
        assert rendered(aws(spec), task, "cluster", "staging") == "shop-staging"
        assert rendered(aws(spec), task, "cluster", "prod") == "shop-prod"


def test_the_clusters_whose_images_are_compared(spec: str) -> None:
    clusters = rendered(parent_dag(spec), "parity.api", "clusters")
    assert {name: (c["cluster"], c["scope"]) for name, c in clusters.items()} == {
        "aws": ("shop-prod", "prod/aws"),
        "gcp": ("${network.cluster}", "prod/gcp"),
    }


def test_the_name_of_a_function(spec: str) -> None:
    dag = aws(spec)
    assert rendered(dag, "functions.hook.plan", "name", "staging") == "shop-staging-hook"
    for task in ("functions.named.plan", "functions.named.deploy"):
        assert rendered(dag, task, "name") == "hook-prod-large"


def test_build_arguments(spec: str) -> None:
    assert rendered(parent_dag(spec), "images.api.build", "build_args") == {"STAGE": "prod"}


def test_what_airflow_stores_of_a_dag_does_not_depend_on_the_process(spec: str) -> None:
    from airflow.serialization.helpers import serialize_template_field

    task: Any = parent_dag(spec).get_task("parity.api")
    stored: Any = serialize_template_field(task.clusters, "clusters")
    assert stored["aws"]["cluster"] == {"staging": "shop-staging", "prod": "shop-prod"}
