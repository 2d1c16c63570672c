from __future__ import annotations

import re
from typing import Any

import pytest

from triplane.sandbox.gcp.contract import Contract, api_of
from triplane.sandbox.gcp.errors import ApiError
from triplane.sandbox.gcp.grpc_front import enum_numbers

SERVICES = "/v2/projects/p/locations/l/services"
NETWORKS = "/compute/v1/projects/p/global/networks"


@pytest.fixture(scope="module")
def contract() -> Contract:
    return Contract(enum_numbers())


def checked(contract: Contract, api: str, verb: str, path: str, body: Any) -> dict[str, Any]:
    document, method, _ = contract.find(api, verb, path)
    return document.check_body(method, body)


@pytest.mark.parametrize(
    ("api", "verb", "path", "method", "params"),
    [
        ("run", "GET", f"{SERVICES}/a", "run.projects.locations.services.get", {"name": f"{SERVICES[4:]}/a"}),
        ("run", "POST", SERVICES, "run.projects.locations.services.create", {"parent": "projects/p/locations/l"}),
        (
            "run", "GET", f"{SERVICES}/a:getIamPolicy", "run.projects.locations.services.getIamPolicy",
            {"resource": f"{SERVICES[4:]}/a"},
        ),
        (
            "container", "POST", "/v1/projects/p/locations/l/clusters/c:setResourceLabels",
            "container.projects.locations.clusters.setResourceLabels",
            {"name": "projects/p/locations/l/clusters/c"},
        ),
        ("compute", "GET", f"{NETWORKS}/n", "compute.networks.get", {"project": "p", "network": "n"}),
        ("sqladmin", "GET", "/sql/v1beta4/projects/p/instances/i", "sql.instances.get", None),
        ("sqladmin", "GET", "/v1/projects/p/instances/i", "sql.instances.get", None),
        ("storage", "GET", "/storage/v1/b/bucket", "storage.buckets.get", {"bucket": "bucket"}),
    ],
)  # fmt: skip
def test_methods(
    contract: Contract, api: str, verb: str, path: str, method: str, params: dict[str, str] | None
) -> None:
    _, found, bound = contract.find(api, verb, path)
    assert found.id == method
    assert params is None or bound == params


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "/v2/projects/p/services/a"),
        ("PUT", f"{SERVICES}/a"),
        ("GET", "/v3/projects"),
        ("POST", NETWORKS),
    ],
)
def test_paths_that_the_api_does_not_have(contract: Contract, verb: str, path: str) -> None:
    with pytest.raises(ApiError, match="not found") as refused:
        contract.find("run", verb, path)
    assert refused.value.code == 404


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"tempalte": {}}, 'Unknown name "tempalte": Cannot find field.'),
        ({"template": {"containers": [{"img": "x"}]}}, "Unknown name \"img\" at 'template.containers[0]'"),
        ({"template": {"containers": {}}}, "Invalid value at 'template.containers'"),
        ({"ingress": "EVERYBODY"}, "Invalid value at 'ingress'"),
        ({"labels": {"a": 1.5}}, "Invalid value at 'labels.a'"),
        ({"traffic": [{"percent": "many"}]}, "Invalid value at 'traffic[0].percent'"),
        ([], "Invalid value at ''"),
    ],
)
def test_bodies_that_the_api_refuses(contract: Contract, body: Any, message: str) -> None:
    with pytest.raises(ApiError, match=re.escape(message)) as refused:
        checked(contract, "run", "POST", SERVICES, body)
    assert refused.value.code == 400
    error = refused.value.body()["error"]
    assert error["status"] == "INVALID_ARGUMENT"
    assert error["details"][0]["fieldViolations"]


def test_output_only_fields_are_dropped_and_enum_numbers_named(contract: Contract) -> None:
    body = {"uid": "x", "uri": "y", "ingress": 2, "launchStage": 4, "template": {"timeout": "30s"}}
    found = checked(contract, "run", "POST", SERVICES, body)
    assert found == {
        "ingress": "INGRESS_TRAFFIC_INTERNAL_ONLY", "launchStage": "GA", "template": {"timeout": "30s"}
    }  # fmt: skip


def test_query(contract: Contract) -> None:
    document, method, _ = contract.find("run", "PATCH", f"{SERVICES}/a")
    query = [("updateMask", "template"), ("validateOnly", "true"), ("$alt", "json;enum-encoding=int")]
    assert document.check_query(method, query) == {"updateMask": "template", "validateOnly": True}
    with pytest.raises(ApiError, match='Unknown name "mask"'):
        document.check_query(method, [("mask", "x")])
    with pytest.raises(ApiError, match="Invalid value at 'validateOnly'"):
        document.check_query(method, [("validateOnly", "perhaps")])


@pytest.mark.parametrize(
    ("host", "api"),
    [
        ("run.googleapis.com", "run"),
        ("europe-west1-run.googleapis.com", "run"),
        ("run.europe-west1.rep.googleapis.com", "run"),
        ("storage.googleapis.com:443", "storage"),
    ],
)
def test_api_of(host: str, api: str) -> None:
    assert api_of(host) == api
