"""Machines of a spec as tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.rendered import aws, rendered

from triplane.factories.context import spec as read
from triplane.factories.drift import drift_dag
from triplane.factories.secrets import used_secrets

SPEC = """\
version: 1
name: shop
environments:
  staging: {variables: {size: small}}
  prod: {variables: {size: large}}
secrets:
  ssh_key: {variable: shop_ssh_key}
  token: {secrets_manager: shop/token}
images:
  api: {context: api}
clouds:
  aws:
    region: eu-west-1
    registry: registry.example.com
    state: {bucket: state}
    cluster: shop
    stacks: {network: {path: network}}
    machines:
      web:
        playbook: ansible/web.yml
        inventory: ["ansible/${environment}.aws_ec2.yml"]
        after: [db]
        credentials: true
        known_hosts: ["${network.known_hosts}"]
      db:
        playbook: ansible/db.yml
        hosts: {db-1: {address: "${network.db}", host_key: "${network.db_key}", port: 2222}}
        user: admin
        key: ssh_key
        ssh: {ProxyJump: "bastion-${environment}"}
        variables: {size: "${env.size}", token: "${secret.token}", text: "{{ not_a_template }}"}
        serial: [1, 50%]
        gate: {url: "http://{address}:8080/healthz", within: 2m}
        destroy_playbook: ansible/gone.yml
        timeout: 10m
        drift: {ignore: [{resource: "db-1: *", reason: known, until: 2027-01-31}]}
    charts:
      api: {path: chart, images: {image: api}}
"""


@pytest.fixture
def spec(tmp_path: Path) -> str:
    file = tmp_path / "platform.yaml"
    file.write_text(SPEC)
    return str(file)


@pytest.mark.parametrize("task", ["machines.db.plan", "machines.db.apply", "destroy.machines.db"])
def test_what_the_tasks_are_given(spec: str, task: str) -> None:
    dag = aws(spec)
    reference = "${secretsmanager://aws_default@eu-west-1/shop/token}"
    expected = {
        "hosts": {
            "db-1": {
                "address": "${network.db}",
                "port": 2222,
                "host_key": "${network.db_key}",
                "variables": {},
            }
        },
        "key": "${variable.shop_ssh_key}",
        "ssh": {"ProxyJump": "bastion-prod"},
        "variables": {"size": "large", "token": reference, "text": "{{ not_a_template }}"},
        "gate": {"url": "http://{address}:8080/healthz", "status": 200, "contains": "", "within": 120.0},
        "serial": [1, "50%"],
        "scope": "prod/aws",
        "playbook": "ansible/db.yml",
        "destroy_playbook": "ansible/gone.yml",
    }
    assert {field: rendered(dag, task, field) for field in expected} == expected
    found: Any = dag.get_task(task)
    assert (found.timeout, found.stop_grace, found.cloud_conn_id) == (600, 30, None)


def test_an_inventory_of_each_environment_and_credentials(spec: str) -> None:
    dag = aws(spec)
    assert rendered(dag, "machines.web.plan", "inventory") == ["ansible/prod.aws_ec2.yml"]
    found: Any = dag.get_task("machines.web.apply")
    assert (found.cloud, found.cloud_conn_id, found.cloud_options) == (
        *("aws", "aws_default"),
        {"region": "eu-west-1"},
    )


def test_they_are_planned_after_the_stacks_that_they_need(spec: str) -> None:
    file = Path(spec)
    file.write_text(
        SPEC.replace("{network: {path: network}}", "{network: {path: network}, other: {path: other}}")
    )
    dag = aws(spec)
    plans = {name: dag.get_task(f"machines.{name}.plan") for name in ("db", "web")}
    assert {name: set(plan.after) for name, plan in plans.items()} == {
        "db": {"network"},
        "web": {"network", "other"},
    }, "an inventory plugin may find what any stack makes"
    assert "infrastructure.network.plan" in plans["db"].upstream_task_ids


def test_they_come_after_stacks_and_before_charts_in_their_own_order(spec: str) -> None:
    dag = aws(spec)
    assert "machines.db.apply" in dag.get_task("infrastructure.network.apply").downstream_task_ids
    assert "machines.web.apply" in dag.get_task("machines.db.apply").downstream_task_ids
    assert "applications.api.deploy" in dag.get_task("machines.web.apply").downstream_task_ids
    assert "destroy.machines.db" in dag.get_task("destroy.machines.web").downstream_task_ids
    assert "destroy.stack.network" in dag.get_task("destroy.machines.db").downstream_task_ids


def test_the_drift_check_looks_at_them(spec: str) -> None:
    batch: Any = drift_dag(spec).get_task("aws.machines")
    found = {component["address"]: component for component in batch.components}
    assert list(found) == ["aws/machines/web", "aws/machines/db"]
    assert found["aws/machines/db"]["ignore"][0]["resource"] == "db-1: *"


def test_a_secret_of_theirs_is_tracked(spec: str) -> None:
    used = used_secrets(read(spec), "aws")
    assert list(used) == ["aws/machines/db"]
    assert list(used["aws/machines/db"]) == ["token"]
