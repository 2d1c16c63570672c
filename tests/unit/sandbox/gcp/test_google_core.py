from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from triplane.sandbox.gcp import core as core_module
from triplane.sandbox.gcp.contract import Contract
from triplane.sandbox.gcp.core import Core, Request
from triplane.sandbox.gcp.errors import ApiError
from triplane.sandbox.gcp.oauth import JWT_GRANT, TOKEN_URI, OAuthError, Tokens
from triplane.sandbox.gcp.operations import Operations
from triplane.sandbox.gcp.state import State, merge

EMAIL = "triplane@triplane-sandbox.iam.gserviceaccount.com"
PARENT = "projects/triplane-sandbox/locations/europe-west1"
SERVICE = f"/v2/{PARENT}/services/web"
IMAGE = "europe-west1-docker.pkg.dev/triplane-sandbox/streaming/web"
LATEST = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
REVISION = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"


class Google:
    """The core without its servers: operations finish at once, ``images`` are what the registry has."""

    def __init__(self, home: Path, key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images = {f"{IMAGE}:good": "sha256:1"}
        monkeypatch.setattr(core_module, "finder", lambda registry, repositories: self.images.get)
        self.tokens = Tokens(EMAIL, key.public_key())
        state = State(home, Operations(delay=0))
        self.core = Core(state, self.tokens, Contract(), "")
        self.authorization = f"Bearer {self.tokens.issue(EMAIL)}"

    def __call__(self, verb: str, path: str, body: Any = None, host: str = "run") -> dict[str, Any]:
        path, _, query = path.partition("?")
        pairs = [tuple(item.split("=", 1)) for item in query.split("&") if item]
        asked = Request(f"{host}.googleapis.com", verb, path, pairs, body, self.authorization)  # type: ignore[arg-type]
        return self.core.handle(asked)

    def done(self, operation: dict[str, Any], host: str = "run") -> dict[str, Any]:
        return self("GET", f"/v2/{operation['name']}", host=host)

    def deploy(self, image: str, traffic: Any = None, **extra: Any) -> dict[str, Any]:
        """Create or patch the service; the finished operation."""
        body = {"template": {"containers": [{"image": f"{IMAGE}:{image}"}]}, **extra}
        if traffic:
            body["traffic"] = traffic
        return self.done(self("PATCH", f"{SERVICE}?allowMissing=true", body))


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def google(tmp_path: Path, key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch) -> Google:
    return Google(tmp_path, key, monkeypatch)


def assertion(key: rsa.RSAPrivateKey, **changes: Any) -> str:
    now = int(time.time())
    claims = {"iss": EMAIL, "aud": TOKEN_URI, "scope": "s", "iat": now, "exp": now + 3600, **changes}
    return jwt.encode(claims, key, algorithm="RS256")


def test_a_signed_assertion_gives_a_token(key: rsa.RSAPrivateKey) -> None:
    tokens = Tokens(EMAIL, key.public_key())
    answer = tokens.grant({"grant_type": JWT_GRANT, "assertion": assertion(key)})
    assert tokens.check(f"Bearer {answer['access_token']}") == EMAIL
    info = tokens.info(answer["access_token"])
    assert info is not None
    assert info["email"] == EMAIL


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"iss": "somebody@else"}, "account not found"),
        ({"aud": "https://else"}, "audience"),
        ({"exp": 1}, "short-lived"),
        ({"scope": ""}, "scope"),
    ],
)
def test_assertions_that_are_refused(key: rsa.RSAPrivateKey, changes: Any, message: str) -> None:
    with pytest.raises(OAuthError, match=message):
        Tokens(EMAIL, key.public_key()).grant(
            {"grant_type": JWT_GRANT, "assertion": assertion(key, **changes)}
        )


def test_a_foreign_key_is_refused(key: rsa.RSAPrivateKey) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with pytest.raises(OAuthError, match="Signature"):
        Tokens(EMAIL, key.public_key()).grant({"grant_type": JWT_GRANT, "assertion": assertion(other)})


def test_tokens_expire(key: rsa.RSAPrivateKey) -> None:
    now = [1000.0]
    tokens = Tokens(EMAIL, key.public_key(), clock=lambda: now[0])
    token = tokens.issue(EMAIL)
    now[0] += 3601
    assert tokens.info(token) is None
    with pytest.raises(ApiError) as refused:
        tokens.check(f"Bearer {token}")
    assert refused.value.code == 401


@pytest.mark.parametrize("authorization", [None, "", "Basic x", "Bearer nonsense"])
def test_no_valid_token_no_answer(google: Google, authorization: str | None) -> None:
    google.authorization = authorization  # type: ignore[assignment]
    with pytest.raises(ApiError) as refused:
        google("GET", SERVICE)
    assert refused.value.code == 401


def test_another_project_is_forbidden(google: Google) -> None:
    with pytest.raises(ApiError) as refused:
        google("GET", SERVICE.replace("triplane-sandbox", "other"))
    assert refused.value.code == 403


def test_each_template_is_a_revision_and_gets_the_traffic(google: Google) -> None:
    google.images[f"{IMAGE}:better"] = "sha256:2"
    first = google.deploy("good")["response"]
    assert first["terminalCondition"]["state"] == "CONDITION_SUCCEEDED"
    assert first["trafficStatuses"] == [{"type": LATEST, "percent": 100}]
    second = google.deploy("better")["response"]
    assert second["latestReadyRevision"] != first["latestReadyRevision"]
    assert second["generation"] == "2"
    same = google.deploy("better")["response"]
    assert same["latestCreatedRevision"] == second["latestCreatedRevision"]
    names = [each["name"] for each in google("GET", f"{SERVICE}/revisions")["revisions"]]
    assert names == [second["latestCreatedRevision"], first["latestCreatedRevision"]]


def test_a_missing_image_leaves_the_traffic_where_it_is(google: Google) -> None:
    before = google.deploy("good")["response"]
    operation = google.deploy("missing")
    assert operation["error"]["code"] == 5
    assert "Image" in operation["error"]["message"]
    after = google("GET", SERVICE)
    assert after["latestReadyRevision"] == before["latestReadyRevision"] != after["latestCreatedRevision"]
    assert after["terminalCondition"]["state"] == "CONDITION_FAILED"
    assert after["trafficStatuses"] == before["trafficStatuses"]


@pytest.mark.parametrize(
    ("traffic", "message"),
    [
        ([{"type": LATEST, "percent": 90}], "must be 100"),
        ([{"type": REVISION, "revision": "web-00099-xyz", "percent": 100}], "does not exist"),
        ([{"type": LATEST, "revision": "web-1", "percent": 100}], "must be empty"),
    ],
)
def test_traffic_that_is_refused(google: Google, traffic: Any, message: str) -> None:
    google.deploy("good")
    with pytest.raises(ApiError, match=message):
        google.deploy("good", traffic)


def test_traffic_can_stay_behind_and_follow(google: Google) -> None:
    google.images[f"{IMAGE}:better"] = "sha256:2"
    first = google.deploy("good")["response"]["latestReadyRevision"].rpartition("/")[2]
    pinned = [{"type": REVISION, "revision": first, "percent": 100}]
    second = google.deploy("better", pinned)["response"]
    assert second["trafficStatuses"] == pinned
    body = {"traffic": [{"type": LATEST, "percent": 100}]}
    moved = google.done(google("PATCH", f"{SERVICE}?updateMask=traffic", body))["response"]
    assert moved["trafficStatuses"] == [{"type": LATEST, "percent": 100}]
    assert moved["template"] == second["template"]


def test_etag_is_checked(google: Google) -> None:
    old = google.deploy("good")["response"]["etag"]
    google.deploy("good", labels={"a": "b"})
    with pytest.raises(ApiError, match="ABORTED") as refused:
        google.deploy("good", etag=old)
    assert refused.value.code == 409


def test_serving_revisions_cannot_be_deleted(google: Google) -> None:
    service = google.deploy("good")["response"]
    with pytest.raises(ApiError, match="in use"):
        google("DELETE", f"/v2/{service['latestReadyRevision']}")


def test_a_cluster_has_the_address_of_the_real_api_server(google: Google, tmp_path: Path) -> None:
    directory = tmp_path / "kubernetes" / "gcp"
    directory.mkdir(parents=True)
    (directory / "endpoint.json").write_text(json.dumps({"server": "https://127.0.0.1:6443", "ca": "Q0E="}))
    body = {"cluster": {"name": "streaming", "initialNodeCount": 1}}
    google("POST", f"/v1/{PARENT}/clusters", body, host="container")
    cluster = google("GET", f"/v1/{PARENT}/clusters/streaming", host="container")
    assert cluster["status"] == "RUNNING"
    assert cluster["endpoint"] == "127.0.0.1:6443"
    assert cluster["masterAuth"] == {"clusterCaCertificate": "Q0E="}
    with pytest.raises(ApiError) as refused:
        google("POST", f"/v1/{PARENT}/clusters", body, host="container")
    assert refused.value.code == 409


def test_networks(google: Google) -> None:
    root = "/compute/v1/projects/triplane-sandbox"
    google("POST", f"{root}/global/networks", {"name": "main", "autoCreateSubnetworks": False}, "compute")
    subnets = f"{root}/regions/europe-west1/subnetworks"
    subnet = {"name": "a", "network": "global/networks/main", "ipCidrRange": "10.0.0.0/24"}
    operation = google("POST", subnets, subnet, "compute")
    assert operation["kind"] == "compute#operation"
    found = google("GET", f"{subnets}/a", host="compute")
    assert found["gatewayAddress"] == "10.0.0.1"
    network = google("GET", f"{root}/global/networks/main", host="compute")
    assert network["subnetworks"] == [found["selfLink"]]
    with pytest.raises(ApiError, match="conflicts"):
        google("POST", subnets, {**subnet, "name": "b", "ipCidrRange": "10.0.0.128/25"}, "compute")
    with pytest.raises(ApiError, match="being used"):
        google("DELETE", f"{root}/global/networks/main", host="compute")


def test_a_database_bumps_its_settings_version(google: Google) -> None:
    root = "/sql/v1beta4/projects/triplane-sandbox/instances"
    body = {
        "name": "db",
        "region": "europe-west1",
        "settings": {"tier": "db-f1-micro"},
        "rootPassword": "hidden",
    }
    google("POST", root, body, "sqladmin")
    google("PATCH", f"{root}/db", {"settings": {"tier": "db-g1-small"}}, "sqladmin")
    found = google("GET", f"{root}/db", host="sqladmin")
    assert found["settings"]["settingsVersion"] == "2"
    assert found["settings"]["tier"] == "db-g1-small"
    assert "hidden" not in json.dumps(found)


def test_service_accounts_and_policies(google: Google) -> None:
    root = "/v1/projects/triplane-sandbox/serviceAccounts"
    made = google("POST", root, {"accountId": "webhook", "serviceAccount": {"displayName": "W"}}, "iam")
    found = google("GET", f"/v1/projects/-/serviceAccounts/{made['email']}", host="iam")
    assert found == made
    policy = {"policy": {"bindings": [{"role": "r", "members": ["m"]}]}}
    first = google("POST", f"/v1/{made['name']}:setIamPolicy", policy, "iam")
    with pytest.raises(ApiError, match="concurrent"):
        google("POST", f"/v1/{made['name']}:setIamPolicy", {"policy": {"etag": "b2xk"}}, "iam")
    assert google("POST", f"/v1/{made['name']}:getIamPolicy", None, "iam") == first


def test_a_method_that_the_sandbox_lacks_is_said_so(google: Google) -> None:
    with pytest.raises(ApiError, match="does not have") as refused:
        google("POST", f"/v2/{PARENT}/jobs?jobId=x", {})
    assert refused.value.code == 501


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (None, {"a": 2, "b": {"c": 3}}),
        ("a", {"a": 2, "b": {"c": 1, "d": 1}}),
        ("b.c", {"a": 1, "b": {"c": 3, "d": 1}}),
        ("b.d", {"a": 1, "b": {"c": 1}}),
    ],
)
def test_merge(mask: str | None, expected: Any) -> None:
    target = {"a": 1, "b": {"c": 1, "d": 1}}
    merge(target, {"a": 2, "b": {"c": 3}}, mask)
    assert target == expected
