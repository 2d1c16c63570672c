"""What the tasks of a platform are given in each environment, rendered as Airflow does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.rendered import aws, rendered

from triplane import settings
from triplane.core.errors import InputError
from triplane.core.references import resolve
from triplane.factories.cloud import cloud_dag
from triplane.factories.drift import drift_dag
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
    manifests:
      edge:
        path: k8s
        namespace: edge
        images: {api: api}
        config: {settings: {SIZE: "${env.size}"}}
        secrets: {credentials: {TOKEN: "${secret.token}"}}
        workloads: {deployment/api: {autoscale: {max: 4, cpu: 80}}}
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


def test_what_the_tasks_of_manifests_are_given(spec: str) -> None:
    for task in ("manifests.edge.plan", "manifests.edge.apply", "destroy.manifests.edge"):
        assert rendered(aws(spec), task, "config") == {"settings": {"SIZE": "large"}}
        assert rendered(aws(spec), task, "secrets") == {"credentials": {"TOKEN": "${connection.shop_api}"}}
        autoscale = {"min": 1, "max": 4, "cpu": 80}
        assert rendered(aws(spec), task, "workloads") == {"deployment/api": {"autoscale": autoscale}}
        assert rendered(aws(spec), task, "cluster") == "shop-prod"


def test_manifests_come_after_stacks_and_before_charts(spec: str) -> None:
    dag = aws(spec)
    assert "manifests.edge.apply" in dag.get_task("infrastructure.network.apply").downstream_task_ids
    assert "applications.api.deploy" in dag.get_task("manifests.edge.apply").downstream_task_ids
    assert not cloud_dag("gcp", spec).task_group_dict.get("manifests")  # type: ignore[union-attr]


def test_every_task_of_a_stack_runs_the_terraform_of_the_spec(spec: str) -> None:
    tool = {"terraform_bin": "tofu", "required_version": "~> 1.10"}
    Path(spec).write_text(f'{SPEC}terraform: {{binary: tofu, required_version: "~> 1.10"}}\n')
    for task_id in ("network.plan", "network.apply", "network.apply_again"):
        task: Any = aws(spec).get_task(f"infrastructure.{task_id}")
        assert {name: getattr(task, name) for name in tool} == tool
    batch: Any = drift_dag(spec).get_task("aws.stacks")
    assert [{name: stack[name] for name in tool} for stack in batch.components] == [tool]


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


def test_the_registries_that_are_compared(spec: str) -> None:
    task: Any = parent_dag(spec).get_task("images.parity")
    assert {cloud: part["images"] for cloud, part in task.registries.items()} == {
        "aws": ["shop/api"],
        "gcp": ["shop/api"],
    }
    assert set(task.digests) == {"shop/api"}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{}", None),
        ("{create: false, scan_on_push: true}", None),
        ("{create: true}", {"immutable_tags": False, "scan_on_push": False}),
        ("{create: true, scan_on_push: true}", {"immutable_tags": False, "scan_on_push": True}),
    ],
)
def test_repositories_are_created_if_the_spec_says_so(spec: str, written: str, expected: Any) -> None:
    place = "    registry: registry.example.com\n    state"
    Path(spec).write_text(SPEC.replace(place, f"    repositories: {written}\n{place}"))
    task: Any = aws(spec).get_task("images.api.push")
    assert task.create == expected


TESTS = """\
tests:
  unit: {path: api, commands: [make test], report: r.xml, environment: {T: "${secret.token}", E: "${environment}"}}
  image: {image: api, commands: [/test]}
  pod: {image: api, runner: kubernetes, cloud: gcp, namespace: shop, commands: [/test]}
"""


def test_tests_come_between_images_and_plans(spec: str) -> None:
    Path(spec).write_text(SPEC + TESTS)
    dags = {"deploy": parent_dag(spec), **{cloud: cloud_dag(cloud, spec) for cloud in ("aws", "gcp")}}
    found = {
        name: {task.task_id for task in dag.tasks if task.task_id.startswith("tests.")}
        for name, dag in dags.items()
        if dag
    }
    assert found == {
        "deploy": {"tests.unit", "tests.image"},
        "aws": {"tests.unit", "tests.image"},
        "gcp": {"tests.unit", "tests.image", "tests.pod"},
    }
    gcp: Any = dags["gcp"]
    pod = gcp.get_task("tests.pod")
    assert pod.upstream_task_ids == {"freeze", "images.api.build", "images.api.push"}
    assert {"infrastructure.network.plan", "applications.api.plan", "change_set"} <= pod.downstream_task_ids
    assert rendered(gcp, "tests.pod", "cluster")["cluster"] == "${network.cluster}"
    assert rendered(gcp, "tests.unit", "environment") == {"T": "${connection.shop_api}", "E": "prod"}
    assert set(gcp.get_task("change_set").tests) == {"unit", "image", "pod"}
    assert "plan.aws" in parent_dag(spec).get_task("tests.unit").downstream_task_ids


def test_what_airflow_stores_of_a_dag_does_not_depend_on_the_process(spec: str) -> None:
    from airflow.serialization.helpers import serialize_template_field

    task: Any = parent_dag(spec).get_task("parity.api")
    stored: Any = serialize_template_field(task.clusters, "clusters")
    assert stored["aws"]["cluster"] == {"staging": "shop-staging", "prod": "shop-prod"}


@pytest.mark.parametrize(
    ("signing", "given"),
    [
        ("", None),
        (
            "signing: {key: password, password: token}\n",
            {
                "key": "${variable.shop_password}",
                "password": "${connection.shop_api}",
                "transparency_log": False,
            },
        ),
        (
            "signing: {key: 'awskms:///alias/images', transparency_log: true}\n",
            {"key": "awskms:///alias/images", "password": "", "transparency_log": True},
        ),
    ],
)
def test_how_images_are_signed(signing: str, given: Any, tmp_path: Path) -> None:
    (tmp_path / "platform.yaml").write_text(SPEC + signing)
    assert aws(str(tmp_path / "platform.yaml")).get_task("images.api.push").signing == given


def test_a_source_that_is_fetched(spec: str) -> None:
    """No task asks the worker's folder for a commit of it."""
    folder: Any = cloud_dag("aws", spec)
    assert folder.get_task("freeze").remote is None
    assert folder.get_task("authorize").folder == folder.get_task("images.api.build").folder is not None
    file = Path(spec)
    file.write_text(f"{SPEC}source: {{gitlab: {{repository: acme/shop}}, fetch: {{deploy_key: shop_key}}}}\n")
    fetched: Any = cloud_dag("aws", spec)
    assert fetched.get_task("freeze").remote == {
        "kind": "gitlab",
        "repository": "acme/shop",
        "connection": "gitlab_default",
        "path": ".",
        "deploy_key": "shop_key",
    }
    assert fetched.get_task("authorize").folder is fetched.get_task("images.api.build").folder is None
