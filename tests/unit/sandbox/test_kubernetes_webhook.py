from __future__ import annotations

import base64
import datetime
import http.server
import threading
from collections.abc import Iterator

import boto3
import pytest
from airflow.providers.amazon.aws.utils.eks_get_token import fetch_access_token_for_cluster

from triplane.sandbox.kubernetes.webhook import Denied, EksTokens, eks_clusters, google_user, review

KEY, SECRET = "AKIASANDBOX000000000", "sandbox-secret"
STS = "https://sts.eu-west-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15"
TOKENS = EksTokens({KEY: SECRET}, lambda: ["streaming"])


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def token(cluster: str = "streaming", key: str = KEY, secret: str = SECRET, url: str = STS) -> str:
    """What Airflow's own EKS hook would send."""
    session = boto3.Session(key, secret, region_name="eu-west-1")
    return str(fetch_access_token_for_cluster(cluster, url, "eu-west-1", session))


def test_a_real_eks_token_is_accepted() -> None:
    assert TOKENS.user(token(), now()) == "arn:aws:iam::000000000000:user/triplane"


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({"cluster": "other"}, "wrong signature"),
        ({"secret": "guessed"}, "wrong signature"),
        ({"key": "AKIAUNKNOWN000000000"}, "unknown access key"),
        ({"url": "https://evil.example/?Action=GetCallerIdentity&Version=2011-06-15"}, "not a URL of STS"),
        ({"url": STS.replace("GetCallerIdentity", "AssumeRole")}, "not a GetCallerIdentity"),
        ("ya29.something", "not an EKS token"),
        ("k8s-aws-v1.****", "not"),
    ],
)
def test_other_eks_tokens_are_denied(bad: str | dict[str, str], why: str) -> None:
    shown = token(**bad) if isinstance(bad, dict) else bad
    with pytest.raises(Denied, match=why):
        TOKENS.user(shown, now())


def test_a_cluster_counts_from_when_it_is_made_until_it_is_removed() -> None:
    clusters = ["streaming"]
    tokens = EksTokens({KEY: SECRET}, lambda: clusters)
    with pytest.raises(Denied, match="a cluster that AWS does not have"):
        tokens.user(token(cluster="shop-prod"), now())
    clusters.append("shop-prod")
    assert tokens.user(token(cluster="shop-prod"), now()).endswith("user/triplane")
    with pytest.raises(Denied, match="a cluster that AWS does not have"):
        tokens.user(token(cluster="shop"), now())
    clusters.remove("shop-prod")
    with pytest.raises(Denied, match="a cluster that AWS does not have"):
        tokens.user(token(cluster="shop-prod"), now())


def test_an_old_eks_token_is_denied() -> None:
    with pytest.raises(Denied, match="expired"):
        TOKENS.user(token(), now() + datetime.timedelta(minutes=16))


def test_a_changed_eks_token_is_denied() -> None:
    text = base64.urlsafe_b64decode(token().removeprefix("k8s-aws-v1.") + "==").decode()
    changed = base64.urlsafe_b64encode(text.replace("X-Amz-Expires=60", "X-Amz-Expires=61").encode())
    with pytest.raises(Denied, match="wrong signature"):
        TOKENS.user("k8s-aws-v1." + changed.decode().rstrip("="), now())


@pytest.fixture
def cloud() -> Iterator[str]:
    """What the emulators of AWS and Google Cloud tell the webhook."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            good = self.path.endswith(("access_token=good", "/eks"))
            self.send_response(200 if good else 401)
            self.end_headers()
            self.wfile.write(b'{"email": "deployer@example.com", "clusters": ["shop-prod"]}')

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_google_tokens_are_introspected(cloud: str) -> None:
    assert google_user("good", f"{cloud}/tokeninfo") == "deployer@example.com"
    with pytest.raises(Denied, match="401"):
        google_user("bad", f"{cloud}/tokeninfo")


def test_aws_is_asked_for_its_clusters(cloud: str) -> None:
    assert eks_clusters(f"{cloud}/eks") == ["shop-prod"]
    with pytest.raises(OSError, match="401"):
        eks_clusters(f"{cloud}/other")


def test_review() -> None:
    def deny(token: str) -> str:
        raise Denied("no")

    assert review("t", lambda token: "me") == {
        "authenticated": True,
        "user": {"username": "me", "groups": ["triplane:deployers"]},
    }
    assert review("t", deny) == {"authenticated": False, "error": "no"}
