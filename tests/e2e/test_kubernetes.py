"""Real Helm against the sandbox's API servers; the operators are called as Airflow calls them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from tests.few import few
from triplane.kubernetes.operators import HelmPlanOperator, HelmUpgradeOperator, ImageParityOperator
from triplane.sandbox.kubernetes.after import answers
from triplane.sandbox.kubernetes.api import Api, ApiError
from triplane.sandbox.kubernetes.cluster import Cluster
from triplane.sandbox.kubernetes.part import REGISTRY_HOSTS
from triplane.sandbox.runtime import Sandbox

CHART = Path(__file__).parents[2] / "examples/streaming-platform/charts/service"
CLOUDS = tuple(REGISTRY_HOSTS)
SECRET = "correct-horse-battery"
MISSING = "sha256:" + "0" * 64
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def push(sandbox: Sandbox, cloud: str, name: str) -> str:
    """Push an image without layers; the same name gives the same digest in every registry."""
    base = f"http://127.0.0.1:{sandbox.port(f'registry-{cloud}')}/v2/streaming/ingest"
    config = json.dumps({"architecture": "amd64", "os": "linux", "author": name}).encode()
    digest = "sha256:" + hashlib.sha256(config).hexdigest()

    def call(method: str, url: str, data: bytes = b"", kind: str = "application/octet-stream") -> Any:
        request = urllib.request.Request(url, data, {"Content-Type": kind}, method=method)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as response:
            return response.headers

    location = call("POST", f"{base}/blobs/uploads/")["Location"]
    if location.startswith("/"):
        location = base.split("/v2/")[0] + location
    call("PUT", f"{location}&digest={digest}", config)
    entry = {"mediaType": "application/vnd.oci.image.config.v1+json", "size": len(config), "digest": digest}
    manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": entry, "layers": []}).encode()
    pushed = "sha256:" + hashlib.sha256(manifest).hexdigest()
    call("PUT", f"{base}/manifests/{pushed}", manifest, MANIFEST)
    return f"{REGISTRY_HOSTS[cloud]}/streaming/ingest@{pushed}"


class Lab:
    """One release, deployed with the sandbox's own administrator."""

    def __init__(self, sandbox: Sandbox, namespace: str, cloud: str = "aws", helm: str = "helm") -> None:
        self.cloud, self.namespace, self.helm = cloud, namespace, helm
        self.kubeconfig = sandbox.home / "kubernetes" / cloud / "admin.kubeconfig"
        self.good, self.better = push(sandbox, cloud, "good"), push(sandbox, cloud, "better")
        self.bad = f"{self.good.partition('@')[0]}@{MISSING}"
        self.tries: dict[str, str] = {}
        self.xcom: dict[str, Any] = {}

    def kwargs(self, image: str, **more: Any) -> dict[str, Any]:
        return {
            "task_id": "t",
            "path": str(CHART),
            "release": "ingest",
            "namespace": self.namespace,
            "address": f"{self.cloud}/chart/ingest",
            "scope": "staging/aws",
            "conn_id": f"cluster_{self.cloud}",
            "images": {"image": image},
            "values": {"environment": {"LEVEL": "info"}, "secrets": {"TOKEN": "${variable.token}"}},
            "timeout": 20,
            "helm_bin": self.helm,
            **more,
        }

    def context(self) -> dict[str, Any]:
        store = SimpleNamespace(get=self.tries.get, set=self.tries.__setitem__)
        return {
            "task_state_store": store,
            "ti": SimpleNamespace(xcom_push=self._push),
            "dag_run": SimpleNamespace(dag_id="deploy_aws", run_id=self.namespace),
        }

    def _push(self, *, key: str, value: Any) -> None:
        self.xcom[key] = value

    def plan(self, image: str, **more: Any) -> dict[str, Any]:
        return HelmPlanOperator(**self.kwargs(image, **more)).execute(self.context())  # type: ignore[arg-type]

    def operator(self, image: str, **more: Any) -> HelmUpgradeOperator:
        return HelmUpgradeOperator(**self.kwargs(image, **more))

    def deploy(self, image: str, **more: Any) -> dict[str, Any]:
        return self.operator(image, **more).execute(self.context())  # type: ignore[arg-type]

    def history(self) -> list[tuple[int, str]]:
        argv = ["helm", "history", "ingest", "-n", self.namespace, "-o", "json"]
        env = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        output = subprocess.run(argv, env=env, capture_output=True, check=True).stdout
        return [(item["revision"], item["status"]) for item in json.loads(output)]

    def serving(self) -> set[str]:
        pods = Api.of(self.kubeconfig).get(f"/api/v1/namespaces/{self.namespace}/pods")["items"]
        ready = [pod for pod in pods if pod["status"]["containerStatuses"][0]["ready"]]
        return {pod["status"]["containerStatuses"][0]["imageID"] for pod in ready}


@pytest.fixture
def airflow(sandbox: Sandbox, cloud_env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_TOKEN", SECRET)
    for cloud in CLOUDS:
        path = sandbox.home / "kubernetes" / cloud / "admin.kubeconfig"
        connection = {"conn_type": "kubernetes", "extra": {"kube_config_path": str(path)}}
        monkeypatch.setenv(f"AIRFLOW_CONN_CLUSTER_{cloud.upper()}", json.dumps(connection))


@pytest.fixture(params=few(["helm", "helm3"], ["helm"]))
def lab(request: pytest.FixtureRequest, sandbox: Sandbox, airflow: None) -> Lab:
    return fresh(sandbox, request)


@pytest.fixture
def lab4(request: pytest.FixtureRequest, sandbox: Sandbox, airflow: None) -> Lab:
    return fresh(sandbox, request)


def fresh(sandbox: Sandbox, request: pytest.FixtureRequest) -> Lab:
    number = f"{time.time_ns() % 10**8}"
    return Lab(sandbox, f"test-{number}", helm=getattr(request, "param", "helm"))


def until(condition: Callable[[], Any], seconds: float = 15) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("not in time")


def processes(*words: str) -> dict[int, str]:
    """Running processes whose command line holds all ``words``, without guardians."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if all(word in line for word in words) and "guardian" not in line:
            found[int(entry.name)] = line
    return found


def in_background(operator: HelmUpgradeOperator, context: Any) -> tuple[threading.Thread, list[Exception]]:
    errors: list[Exception] = []

    def work() -> None:
        try:
            operator.execute(context)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, errors


def test_a_release_is_installed_left_alone_and_upgraded(lab: Lab) -> None:
    first = lab.plan(lab.good)
    assert (first["action"], first["risk"]) == ("create", "low")
    assert SECRET not in json.dumps(first)
    done = lab.deploy(lab.good, change=first)
    assert (done["state"], done["version"]) == ("deployed", "1")
    assert lab.serving() == {lab.good}

    same = lab.plan(lab.good)
    assert same["action"] == "none"
    assert lab.deploy(lab.good, change=same)["state"] == "unchanged"

    second = lab.plan(lab.better)
    digests = [image.partition("@")[2] for image in (lab.good, lab.better)]
    assert second["lines"] == [
        f"~ image: {digests[0]} -> {digests[1]}",
        "~ Deployment ingest",
        f"    ~ spec.template.spec.containers[service].image: {lab.good} -> {lab.better}",
    ]
    assert lab.deploy("", images=None, change=second)["version"] == "2"
    assert lab.serving() == {lab.better}
    assert lab.deploy(lab.better, change=second)["version"] == "2", "a retry finds its work done"
    assert lab.history() == [(1, "superseded"), (2, "deployed")]


def test_a_bad_image_is_rolled_back(lab: Lab) -> None:
    lab.deploy(lab.good)
    with pytest.raises(AirflowFailException) as caught:
        lab.deploy(lab.bad, timeout=6)
    assert "revision 3 (the content of revision 1) serves" in str(caught.value)
    assert "ImagePullBackOff" in str(caught.value)
    assert lab.xcom["return_value"]["state"] == "rolled_back"
    assert until(lambda: lab.serving() == {lab.good})
    assert lab.plan(lab.good)["action"] == "none"


def test_a_first_installation_that_fails_leaves_nothing(lab4: Lab) -> None:
    with pytest.raises(AirflowFailException, match="nothing serves"):
        lab4.deploy(lab4.bad, timeout=4)
    assert lab4.xcom["return_value"]["state"] == "failed"
    assert lab4.deploy(lab4.good)["state"] == "deployed"


def test_secrets_are_in_no_command_line(lab4: Lab) -> None:
    thread, _ = in_background(lab4.operator(lab4.bad, timeout=5), lab4.context())
    lines = until(lambda: processes("upgrade", lab4.namespace))
    assert not any(SECRET in line for line in lines.values())
    thread.join()


def test_cancelling_ends_helm_cleanly(lab: Lab) -> None:
    lab.deploy(lab.good)
    operator = lab.operator(lab.bad, timeout=60)
    thread, errors = in_background(operator, lab.context())
    until(lambda: lab.history()[-1] == (2, "pending-upgrade"))
    time.sleep(0.5)
    begin = time.monotonic()
    operator.on_kill()
    thread.join(20)
    assert not thread.is_alive()
    assert time.monotonic() - begin < 10
    assert errors
    assert not processes("upgrade", lab.namespace)
    assert not lab.history()[-1][1].startswith("pending")
    assert lab.deploy(lab.better)["state"] == "deployed"
    assert until(lambda: lab.serving() == {lab.better})


@pytest.mark.parametrize("installed", [True, False])
def test_a_killed_helm_is_healed_by_the_retry(lab: Lab, installed: bool) -> None:
    if installed:
        lab.deploy(lab.good)
    change = lab.plan(lab.better)
    thread, failed = in_background(lab.operator(lab.bad, timeout=60), lab.context())
    until(lambda: processes("upgrade", lab.namespace))
    pending = "pending-upgrade" if installed else "pending-install"
    until(lambda: _last(lab) == pending)
    for pid in processes("upgrade", lab.namespace):
        os.kill(pid, signal.SIGKILL)
    thread.join(20)
    assert lab.history()[-1][1] == pending
    assert isinstance(failed[0], AirflowException)
    assert not isinstance(failed[0], AirflowFailException), "a retry sets it right"
    assert "return_value" not in lab.xcom, "nothing was rolled back"
    assert lab.deploy(lab.better, change=change)["state"] == "deployed"
    assert until(lambda: lab.serving() == {lab.better})


def _last(lab: Lab) -> str:
    try:
        return lab.history()[-1][1]
    except subprocess.CalledProcessError:
        return ""


def test_only_what_was_planned_is_deployed(lab4: Lab) -> None:
    change = lab4.plan(lab4.good)
    with pytest.raises(AirflowFailException, match=r"not what was approved.*image.image"):
        lab4.deploy(lab4.better, change=change)
    with pytest.raises(AirflowFailException, match=r"not what was approved.*values"):
        lab4.deploy(lab4.good, change=change, values={"replicas": 2})
    with pytest.raises(AirflowFailException, match=r"not what was approved.*release"):
        lab4.deploy(lab4.good, change=change, namespace="elsewhere")
    assert _last(lab4) == ""


def test_what_somebody_changed_by_hand_is_shown_and_put_back(lab: Lab) -> None:
    lab.deploy(lab.good)
    assert lab.plan(lab.good)["action"] == "none"
    kubectl = ["kubectl", "--kubeconfig", str(lab.kubeconfig), "--namespace", lab.namespace]
    for argv in (
        ["patch", "configmap", "ingest", "--patch", '{"data": {"LEVEL": "debug"}}'],
        ["delete", "service", "ingest"],
    ):
        subprocess.run([*kubectl, *argv], check=True, capture_output=True)
    change = lab.plan(lab.good)
    assert (change["action"], change["risk"]) == ("update", "medium")
    assert change["lines"] == [
        f"! configmap {lab.namespace}/ingest was changed by hand",
        "    ~ data.LEVEL: debug -> info",
        f"! service {lab.namespace}/ingest was deleted by hand",
    ]
    assert lab.deploy(lab.good, change=change)["version"] == "2"
    assert lab.deploy(lab.good, change=change)["version"] == "2", "a retry does not deploy it again"
    assert lab.plan(lab.good)["action"] == "none"
    level = Api.of(lab.kubeconfig).get(f"/api/v1/namespaces/{lab.namespace}/configmaps/ingest")["data"][
        "LEVEL"
    ]
    assert level == "info"


def test_a_plan_goes_stale(lab4: Lab) -> None:
    lab4.deploy(lab4.good)
    change = lab4.plan(lab4.better)
    lab4.deploy(lab4.good, values={"replicas": 2})
    with pytest.raises(AirflowFailException, match="plan again"):
        lab4.deploy(lab4.better, change=change)


def test_an_unreachable_cluster_is_not_an_empty_one(lab4: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    text = lab4.kubeconfig.read_text().replace("server: https://127.0.0.1:", "server: https://127.0.0.1:1 #")
    connection = {"conn_type": "kubernetes", "extra": {"kube_config": text}}
    monkeypatch.setenv("AIRFLOW_CONN_CLUSTER_AWS", json.dumps(connection))
    with pytest.raises(Exception, match=r"(?i)unreachable|refused") as caught:
        lab4.plan(lab4.good)
    assert not isinstance(caught.value, AirflowFailException)


def test_a_cluster_that_a_stack_will_make(lab4: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cryptography.fernet import Fernet

    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    change = lab4.plan(lab4.good, cluster="${cluster.name}")
    assert (change["action"], change["binds"]["revision"]) == ("create", 0)


def test_parity(sandbox: Sandbox, airflow: None) -> None:
    namespace = f"parity-{time.time_ns() % 10**8}"
    labs = {cloud: Lab(sandbox, namespace, cloud) for cloud in CLOUDS}
    for lab in labs.values():
        lab.deploy(lab.good)
    clusters = {cloud: {"cloud": "kubernetes", "conn_id": f"cluster_{cloud}"} for cloud in CLOUDS}
    operator = ImageParityOperator(task_id="p", release="ingest", namespace=namespace, clusters=clusters)
    digest = labs["aws"].good.partition("@")[2]
    assert operator.execute({}) == {cloud: {"service": digest} for cloud in CLOUDS}  # type: ignore[arg-type]
    labs["gcp"].deploy(labs["gcp"].better)
    with pytest.raises(AirflowFailException, match="gcp serves"):
        operator.execute({})  # type: ignore[arg-type]


def eks_cluster() -> dict[str, Any]:
    from triplane.clouds import aws

    client = aws.client("eks", "aws_default", "eu-west-1")
    if "streaming" not in client.list_clusters()["clusters"]:
        role = "arn:aws:iam::000000000000:role/cluster"
        client.create_cluster(name="streaming", roleArn=role, resourcesVpcConfig={"subnetIds": ["subnet-1"]})
    return {"cloud": "aws", "conn_id": "aws_default", "region": "eu-west-1"}


def gke_cluster() -> dict[str, Any]:
    from airflow.providers.google.common.hooks.base_google import GoogleBaseHook
    from google.auth.transport.requests import AuthorizedSession

    url = "https://container.googleapis.com/v1/projects/triplane-sandbox/locations/europe-west1/clusters"
    hook = GoogleBaseHook(gcp_conn_id="google_cloud_default")
    with AuthorizedSession(hook.get_credentials()) as session:
        body = {"cluster": {"name": "streaming", "initialNodeCount": 1}}
        assert session.post(url, json=body).status_code in (200, 409)
        until(lambda: session.get(f"{url}/streaming").json().get("endpoint"))
    return {"cloud": "gcp", "conn_id": "google_cloud_default", "region": "europe-west1"}


def aks_cluster() -> dict[str, Any]:
    from airflow.providers.microsoft.azure.hooks.base_azure import AzureBaseHook
    from azure.mgmt.containerservice import ContainerServiceClient

    credential = AzureBaseHook(conn_id="azure_default").get_credential()
    client = ContainerServiceClient(credential, "00000000-0000-0000-0000-000000000001")
    pool = {"name": "system", "count": 1, "vmSize": "Standard_B2s", "mode": "System"}
    body = {
        "location": "westeurope",
        "identity": {"type": "SystemAssigned"},
        "properties": {"dnsPrefix": "streaming", "agentPoolProfiles": [pool]},
    }
    client.managed_clusters.begin_create_or_update("streaming", "streaming", body).result()  # type: ignore
    return {"cloud": "azure", "conn_id": "azure_default", "resource_group": "streaming"}


@pytest.mark.parametrize("make", [eks_cluster, gke_cluster, aks_cluster])
def test_the_clouds_own_credentials(
    make: Callable[[], dict[str, Any]], sandbox: Sandbox, airflow: None
) -> None:
    options = make()
    lab = Lab(sandbox, f"cloud-{time.time_ns() % 10**8}", options["cloud"])
    options["cluster"] = "streaming"
    assert lab.plan(lab.good, **options)["action"] == "create"
    assert lab.deploy(lab.good, **options)["state"] == "deployed"
    assert lab.serving() == {lab.good}
    assert lab.plan(lab.good, **options)["action"] == "none"
    missing = lab.plan(lab.good, **{**options, "cluster": "not-there"})
    assert missing["action"] == "create", "a cluster that is not there yet holds no release"


def test_a_deployer_deploys_and_nothing_else(sandbox: Sandbox, airflow: None) -> None:
    api = Api.of(sandbox.home / "kubernetes" / "azure" / "user.kubeconfig")
    assert api.get("/api/v1/namespaces")["items"]
    for path in ("/api/v1/nodes", "/apis/rbac.authorization.k8s.io/v1/clusterroles"):
        with pytest.raises(ApiError) as caught:
            api.get(path)
        assert caught.value.code == 403


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_forged_token_is_refused(sandbox: Sandbox, cloud: str) -> None:
    endpoint = json.loads((sandbox.home / "kubernetes" / cloud / "endpoint.json").read_text())
    cluster = {"server": endpoint["server"], "certificate-authority-data": endpoint["ca"]}
    token = "k8s-aws-v1.aHR0cHM6Ly9zdHMuYW1hem9uYXdzLmNvbS8" if cloud == "aws" else "ya29.forged"
    users = [{"user": {"token": token}}]
    with pytest.raises(ApiError) as caught:
        Api({"clusters": [{"cluster": cluster}], "users": users}).get("/api/v1/namespaces")
    assert caught.value.code == 401


def test_a_given_cluster_works_behind_the_front(
    sandbox: Sandbox, airflow: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sandbox's own cluster plays the one that a user has given."""
    cluster = Cluster("aws", tmp_path / "aws", sandbox.port("test-front"))
    cluster.prepare(sandbox.port("kubernetes-webhook"))
    cluster.use(sandbox.home / "kubernetes" / "aws" / "admin.kubeconfig")
    module = "triplane.sandbox.kubernetes.front"
    webhook = f"http://127.0.0.1:{sandbox.port('kubernetes-webhook')}/aws"
    front = subprocess.Popen([sys.executable, "-m", module, str(cluster.folder), str(cluster.port), webhook])
    try:
        until(lambda: answers(f"{cluster.server}/readyz", cluster.folder / "ca.crt"))
        extra = {"kube_config_path": str(cluster.folder / "user.kubeconfig")}
        connection = {"conn_type": "kubernetes", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_CLUSTER_AWS", json.dumps(connection))
        lab = Lab(sandbox, f"front-{time.time_ns() % 10**8}")
        assert lab.deploy(lab.good)["state"] == "deployed"
        assert lab.serving() == {lab.good}
        with pytest.raises(ApiError) as caught:
            Api.of(cluster.folder / "user.kubeconfig").get("/api/v1/nodes")
        assert caught.value.code == 403
    finally:
        front.terminate()
        front.wait()
