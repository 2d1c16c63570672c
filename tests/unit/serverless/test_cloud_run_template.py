from __future__ import annotations

from typing import Any

import pytest
from google.cloud import run_v2

from triplane.core.errors import InputError
from triplane.serverless.google import cloud_run_template as template
from triplane.serverless.target import UNKNOWN, Desired

LABELS = {"managed-by": "triplane", "triplane-digest": "a" * 63}
IMAGE = "europe-west1-docker.pkg.dev/p/r/webhook@sha256:" + "a" * 64


def desired(**changes: Any) -> Desired:
    return Desired(**{"name": "webhook", "artifact": IMAGE, "config": "c", **changes})


def test_everything_is_written_into_the_template() -> None:
    options = {
        "port": 8080, "memory": "256Mi", "cpu": "1", "timeout": 30.0, "concurrency": 10, "min_instances": 0,
        "max_instances": 3, "service_account": "a@b", "ingress": "internal",
    }  # fmt: skip
    body = template.service_body(desired(options=options, environment={"A": "x"}), {"k": "v"})
    run_v2.Service(body)
    assert body["ingress"] == "INGRESS_TRAFFIC_INTERNAL_ONLY"
    assert body["template"] == {
        "containers": [
            {
                "image": IMAGE,
                "env": [{"name": "A", "value": "x"}],
                "resources": {"limits": {"cpu": "1", "memory": "256Mi"}},
                "ports": [{"container_port": 8080}],
            }
        ],
        "annotations": {"k": "v"},
        "labels": LABELS,
        "service_account": "a@b",
        "timeout": {"seconds": 30},
        "max_instance_request_concurrency": 10,
        "scaling": {"min_instance_count": 0, "max_instance_count": 3},
    }


def test_what_is_not_given_is_left_to_cloud_run() -> None:
    body = template.service_body(desired(), {})
    assert set(body["template"]) == {"containers", "annotations", "labels"}
    assert set(body["template"]["containers"][0]) == {"image", "env"}


def test_options_come_back_as_they_were_given() -> None:
    options = {"port": 8080, "memory": "1Gi", "timeout": 30, "max_instances": 3, "ingress": "all"}
    made = run_v2.Service(template.service_body(desired(options=options), {}))
    revision = run_v2.Revision(
        containers=made.template.containers, timeout=made.template.timeout, scaling=made.template.scaling
    )
    found = template.options_of(made, revision)
    assert {key: found[key] for key in options} == options


@pytest.mark.parametrize(
    "value", ["plain", "", "secretmanager://token/latest", "secretmanager://projects/p/secrets/t/3"]
)
def test_environment_round_trip(value: str) -> None:
    container = run_v2.Container(env=[template.variable("A", value)])
    assert template.plain_environment(container.env) == {"A": value}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"artifact": "host/webhook:latest"}, "has no digest"),
        ({"options": {"ingress": "nobody"}}, "ingress 'nobody' is not one of"),
        ({"options": {"service_account": UNKNOWN}}, "service_account is not known yet"),
        ({"environment": {"A": UNKNOWN}}, "environment A is not known yet"),
    ],
)
def test_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        template.service_body(desired(**changes), {})
