"""Charts as people write them, through the operators, with Helm 3 and Helm 4 against a real API server."""

from __future__ import annotations

import base64
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from cryptography.fernet import Fernet

from tests.e2e.test_kubernetes import MISSING, Lab, airflow, until  # noqa: F401
from tests.few import few
from triplane.kubernetes.drift_operators import KubernetesDriftBatchOperator
from triplane.kubernetes.operators import HelmPlanOperator, HelmUninstallOperator
from triplane.sandbox.kubernetes.api import Api, ApiError
from triplane.sandbox.runtime import Sandbox

CHARTS = Path(__file__).parents[1] / "testdata" / "charts"
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.charts.example.com"
ECR = "000000000000.dkr.ecr.eu-west-1.amazonaws.com"
PASSWORD = "tr0ub4dor-and-3"


class Chart:
    """One chart, deployed by one Helm into a namespace of its own."""

    def __init__(self, sandbox: Sandbox, helm: str, path: Path | None, **options: Any) -> None:
        self.lab = Lab(sandbox, f"charts-{time.time_ns() % 10**9}", helm=helm)
        self.api = Api.of(self.lab.kubeconfig)
        self.helm = helm
        self.options = {"path": path and str(path), "images": {}, "values": {}, "timeout": 40, **options}

    def plan(self, **more: Any) -> dict[str, Any]:
        return self.lab.plan("", **{**self.options, **more})

    def deploy(self, **more: Any) -> dict[str, Any]:
        """Plan, and deploy exactly that."""
        change = self.plan(**more)
        return self.apply(change, **more)

    def apply(self, change: dict[str, Any], **more: Any) -> dict[str, Any]:
        self.lab.tries.clear()
        return self.lab.deploy("", **{**self.options, **more}, change=change)

    def uninstall(self) -> None:
        kwargs = {**self.lab.kwargs(""), **self.options}
        change = HelmPlanOperator(**kwargs, intent="destroy").execute(self.lab.context())  # type: ignore[arg-type]
        assert (change["action"], change["risk"]) == ("destroy", "critical")
        operator = HelmUninstallOperator(**kwargs, change=change)
        assert operator.execute(self.lab.context())["state"] == "destroyed"  # type: ignore[arg-type]
        with pytest.raises(subprocess.CalledProcessError):
            self.lab.history()

    def drift(self) -> list[dict[str, Any]]:
        """What a drift check finds."""
        kwargs = self.lab.kwargs("")
        release = {name: kwargs[name] for name in ("address", "scope", "namespace", "conn_id", "helm_bin")}
        release |= {"cloud": "kubernetes", "release": self.options["release"]}
        (check,) = KubernetesDriftBatchOperator(task_id="t", components=[release]).execute({})  # type: ignore[arg-type]
        assert check["state"] != "unknown", check
        return list(check["resources"])

    def get(self, path: str) -> Any:
        return self.api.get(path.replace("NS", f"namespaces/{self.lab.namespace}"))

    def forget(self, path: str) -> None:
        """Delete what another run may have left."""

        def gone() -> bool:
            try:
                self.api.get(path)
            except ApiError as error:
                return error.code == 404
            return False

        self.api.delete(path, {})
        until(gone)

    def whole_life(self, first: dict[str, Any], second: dict[str, Any]) -> list[str]:
        """Install, leave alone, upgrade, roll back, uninstall; returns what the upgrade's plan said."""
        assert self.deploy(**first)["version"] == "1"
        assert self.plan(**first)["action"] == "none"
        assert self.drift() == []
        change = self.plan(**second)
        assert change["action"] == "update"
        assert self.apply(change, **second)["version"] == "2"
        assert self.drift() == []
        assert self.deploy(**first)["version"] == "3"
        assert self.plan(**first)["action"] == "none"
        assert self.drift() == []
        self.uninstall()
        return list(change["lines"])


@pytest.fixture(autouse=True)
def store(airflow: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())


@pytest.fixture(params=few(["helm", "helm3"], ["helm"]))
def make(request: pytest.FixtureRequest, sandbox: Sandbox) -> Callable[..., Chart]:
    def chart(path: Path | None, **options: Any) -> Chart:
        return Chart(sandbox, request.param, path, **options)

    return chart


def created(helm: str, folder: Path, image: str) -> Path:
    """What ``helm create`` makes; its HPA and its test as this old API server and its nodes can have them."""
    subprocess.run([helm, "create", "web"], cwd=folder, check=True, capture_output=True)
    chart = folder / "web"
    for name, old, new in (
        ("hpa", "autoscaling/v2", "autoscaling/v2beta2"),
        ("tests/test-connection", "busybox", image),
    ):
        path = chart / "templates" / f"{name}.yaml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
    return chart


@pytest.mark.parametrize("make", ["helm", "helm3"], indirect=True)
def test_what_helm_create_makes(make: Callable[..., Chart], tmp_path: Path) -> None:
    chart = make(None, release="web", images_as="tag", test=True)
    chart.options["path"] = str(created(chart.helm, tmp_path, chart.lab.good))
    ingress = {
        "enabled": True,
        "hosts": [{"host": "a.example", "paths": [{"path": "/", "pathType": "Prefix"}]}],
    }
    values = {"ingress": ingress, "autoscaling": {"enabled": True, "maxReplicas": 3}}
    first = {"images": {"image": chart.lab.good}, "values": values}
    with pytest.raises(AirflowFailException, match="write images_as: tag"):
        chart.plan(**first, images_as="digest")
    lines = chart.whole_life(first, {"images": {"image": chart.lab.better}, "values": values})
    assert lines[1:3] == [
        "~ Deployment web",
        f"    ~ spec.template.spec.containers[web].image: {chart.lab.good} -> {chart.lab.better}",
    ]
    assert not any("sets replicas" in line for line in lines)


def test_hooks_and_crds(make: Callable[..., Chart], tmp_path: Path) -> None:
    """No object of the CRD is made: the sandbox's old API server, built with a newer Go, does not survive that."""
    chart = make(CHARTS / "operatorlike", release="op", test=True, crds="update")
    chart.forget(CRD)
    first: dict[str, Any] = {"images": {"image": chart.lab.good}}
    lines = chart.plan(**first, values={"widget": True})["lines"]
    assert "+ Widget op" in lines, "shown although its CRD is not there yet"
    assert chart.deploy(**first)["version"] == "1"
    newer = tmp_path / "operatorlike"
    shutil.copytree(CHARTS / "operatorlike", newer)
    crd = newer / "crds" / "widgets.yaml"
    crd.write_text(
        crd.read_text().replace(
            "size: {type: integer}", "size: {type: integer}\n                color: {type: string}"
        )
    )
    second = {**first, "path": str(newer), "values": {"size": 2}}
    assert (
        "    ~ spec.template.spec.containers[controller].args[0]: --size=1 -> --size=2"
        in chart.plan(**second)["lines"]
    )
    assert chart.deploy(**second)["version"] == "2"
    schema = chart.get(CRD)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert set(schema["properties"]["spec"]["properties"]) == {"size", "color"}

    bad = {**second, "images": {"image": chart.lab.better}, "values": {"testImage": chart.lab.bad}}
    with pytest.raises(AirflowFailException) as caught:
        chart.deploy(**bad, timeout=5)
    assert "revision 4 (the content of revision 2) serves, and its pods run the images of it" in str(
        caught.value
    )
    assert "its tests failed" in str(caught.value)
    assert chart.lab.xcom["return_value"]["state"] == "rolled_back"
    assert chart.lab.serving() >= {chart.lab.good}
    assert chart.drift() == [], "we went back ourselves"
    assert chart.deploy(**first)["version"] == "5"
    chart.uninstall()


@pytest.mark.parametrize("make", ["helm"], indirect=True)
def test_a_first_installation_whose_test_fails_leaves_nothing(make: Callable[..., Chart]) -> None:
    chart = make(CHARTS / "operatorlike", release="op", test=True)
    options = {"images": {"image": chart.lab.good}, "values": {"testImage": f"{ECR}/none@{MISSING}"}}
    with pytest.raises(AirflowFailException, match=r"nothing serves: its tests failed"):
        chart.deploy(**options, timeout=4)
    assert chart.plan(**options)["action"] == "create"


def test_subcharts_conditions_and_a_library(make: Callable[..., Chart]) -> None:
    chart = make(CHARTS / "umbrella", release="all")

    def options(image: str, worker: bool) -> dict[str, Any]:
        return {"values": {"global": {"image": image}, "worker": {"enabled": worker}}}

    lines = chart.whole_life(options(chart.lab.good, False), options(chart.lab.good, True))
    assert "+ Deployment all-worker" in lines
    assert not any("Deployment all-backend" in line for line in lines)
    with pytest.raises(AirflowFailException, match="library chart"):
        chart.plan(path=str(CHARTS / "shared"))


def test_a_schema(make: Callable[..., Chart]) -> None:
    chart = make(CHARTS / "strict", release="strict")
    lines = chart.whole_life({"values": {}}, {"values": {"level": "debug"}})
    assert lines == ["+ values.level = debug", "~ ConfigMap strict-0", "    ~ data.level: info -> debug"]
    with pytest.raises(
        AirflowFailException, match=r"do not fit the schema of the chart: strict:.*count.*change the values"
    ):
        chart.plan(values={"count": "many"})


@pytest.mark.campaign
@pytest.mark.parametrize("make", ["helm"], indirect=True)
def test_two_hundred_objects(make: Callable[..., Chart]) -> None:
    chart = make(CHARTS / "strict", release="many")
    lines = chart.whole_life({"values": {"count": 200}}, {"values": {"count": 200, "level": "debug"}})
    assert 100 < len(lines) < 250
    assert "more objects" in lines[-1]


@pytest.mark.parametrize("make", ["helm"], indirect=True)
def test_random_values_are_left_out_of_what_is_approved(make: Callable[..., Chart]) -> None:
    chart = make(CHARTS / "random", release="random")
    change = chart.plan()
    assert change["binds"]["manifests_except"] == "Secret random"
    assert "! Secret random comes out different each time: its content is not covered" in change["lines"]
    assert chart.apply(change)["state"] == "deployed"
    change = chart.plan(values={"level": "debug"})
    assert "manifests_except" not in change["binds"], "the password is kept"
    secret = chart.get("/api/v1/NS/secrets/random")["data"]["password"]
    assert secret not in json.dumps(change)

    body = {"data": {"password": base64.b64encode(b"another-one").decode()}}
    chart.api.patch(f"/api/v1/namespaces/{chart.lab.namespace}/secrets/random", body)
    with pytest.raises(AirflowFailException, match="renders other manifests than those that were approved"):
        chart.apply(change, values={"level": "debug"})
    chart.uninstall()


@pytest.mark.parametrize("make", ["helm"], indirect=True)
def test_a_secret_that_is_rotated_after_the_plan(
    make: Callable[..., Chart], monkeypatch: pytest.MonkeyPatch
) -> None:
    chart = make(CHARTS / "random", release="random", values={"level": "${variable.token}"})
    change = chart.plan()
    assert "manifests" in change["binds"]
    monkeypatch.setenv("AIRFLOW_VAR_TOKEN", "a-newer-one")
    assert chart.apply(change)["state"] == "deployed"
    assert chart.get("/api/v1/NS/configmaps/random")["data"]["level"] == "a-newer-one"
    monkeypatch.setenv("AIRFLOW_VAR_LEVEL", "debug")
    strict = chart.plan(path=str(CHARTS / "strict"), values={"level": "${variable.level}"})
    assert "manifests" not in strict["binds"], "the schema refuses it as it is written"


@pytest.mark.parametrize("make", ["helm"], indirect=True)
def test_history_is_kept(make: Callable[..., Chart]) -> None:
    chart = make(CHARTS / "strict", release="strict", history_max=2)
    chart.options.pop("path")
    chart.options["path"] = str(CHARTS / "strict")
    for count in (1, 2, 3):
        chart.deploy(values={"count": count}, release="ingest")
    assert [number for number, _ in chart.lab.history()] == [2, 3]


@pytest.mark.parametrize("make", ["helm"], indirect=True)
def test_values_files(make: Callable[..., Chart], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text("level: debug\ncount: 3\n")
    (tmp_path / "over.yaml").write_text("count: 2\n")
    chart = make(CHARTS / "strict", release="strict", values_files=["base.yaml", "over.yaml"])
    change = chart.plan()
    assert {"+ values.level = debug", "+ values.count = 2"} <= set(change["lines"])
    (tmp_path / "over.yaml").write_text("count: 1\n")
    with pytest.raises(AirflowFailException, match=r"not what was approved.*values"):
        chart.apply(change)
    with pytest.raises(AirflowFailException, match="is not in the source"):
        chart.plan(values_files=["gone.yaml"])


@contextmanager
def repository(folder: Path) -> Iterator[str]:
    """A chart repository that wants a login."""
    wanted = "Basic " + base64.b64encode(f"reader:{PASSWORD}".encode()).decode()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def do_GET(self) -> None:
            if self.headers.get("Authorization") != wanted:
                self.send_error(401)
            else:
                super().do_GET()

        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_chart_repository(
    make: Callable[..., Chart], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = tmp_path / "served"
    served.mkdir()
    with repository(served) as url:
        for version in ("1.0.0", "1.1.0"):
            argv = ["helm", "package", str(CHARTS / "strict"), "--version", version, "-d", str(served)]
            subprocess.run(argv, check=True, capture_output=True)
        subprocess.run(["helm", "repo", "index", str(served)], check=True)
        login = {"conn_type": "http", "login": "reader", "password": PASSWORD}
        monkeypatch.setenv("AIRFLOW_CONN_CHARTS", json.dumps(login))
        chart = make(
            None, repository=url, chart="strict", version="1.0.0", chart_conn_id="charts", release="s"
        )
        first = chart.plan()
        assert first["lines"][-1] == "+ ConfigMap s-0"
        for file in served.iterdir():
            file.rename(file.with_suffix(".away"))
        assert chart.apply(first)["version"] == "1", (
            "what was planned is kept; nobody asks the repository again"
        )
        for file in served.iterdir():
            file.rename(file.with_suffix(".yaml" if "index" in file.name else ".tgz"))
        assert chart.plan()["action"] == "none"
        assert chart.deploy(version="1.1.0")["version"] == "2"

        needs = tmp_path / "needs"
        (needs / "templates").mkdir(parents=True)
        dependency = {"name": "strict", "version": "~1.0.0", "repository": url}
        text = yaml.safe_dump(
            {"apiVersion": "v2", "name": "needs", "version": "1.0.0", "dependencies": [dependency]}
        )
        (needs / "Chart.yaml").write_text(text)
        login["host"] = url.rpartition("/")[2]
        monkeypatch.setenv("AIRFLOW_CONN_CHARTS", json.dumps(login))
        own: dict[str, Any] = {
            "path": str(needs),
            "repository": None,
            "chart": None,
            "version": None,
            "release": "n",
        }
        assert chart.deploy(**own)["version"] == "1"
        assert chart.plan(**own)["action"] == "none", "the same dependencies give the same digest"

        monkeypatch.setenv("AIRFLOW_CONN_CHARTS", json.dumps({**login, "password": "wrong-one"}))
        with pytest.raises(AirflowFailException, match="check name, version and login") as caught:
            chart.plan()
        assert PASSWORD not in str(caught.value)
        assert "wrong-one" not in str(caught.value)
    with pytest.raises(AirflowException, match="refused") as gone:
        chart.plan()
    assert not isinstance(gone.value, AirflowFailException), "a retry may help"


def test_an_oci_registry(make: Callable[..., Chart], tmp_path: Path) -> None:
    from triplane.clouds import aws
    from triplane.images import repositories

    repositories.ecr(aws.client("ecr", "aws_default", "eu-west-1"), "charts/strict", {}, print)
    username, password = aws.registry_login("aws_default", ECR)
    config = tmp_path / "config.json"
    token = base64.b64encode(f"{username}:{password}".encode()).decode()
    config.write_text(json.dumps({"auths": {ECR: {"auth": token}}}))
    subprocess.run(["helm", "package", str(CHARTS / "strict"), "-d", str(tmp_path)], check=True)
    argv = ["helm", "push", str(tmp_path / "strict-1.0.0.tgz"), f"oci://{ECR}/charts"]
    subprocess.run(argv, check=True, env={**os.environ, "HELM_REGISTRY_CONFIG": str(config)})

    place = {"repository": f"oci://{ECR}/charts", "chart": "strict", "version": "1.0.0"}
    chart = make(None, **place, chart_conn_id="aws_default", release="s")
    assert chart.deploy()["version"] == "1"
    assert chart.plan()["action"] == "none"
    with pytest.raises(AirflowFailException, match="check name, version and login"):
        chart.plan(chart_conn_id=None)


TASK = """
import json, sys
from types import SimpleNamespace
from triplane.kubernetes.operators import HelmUpgradeOperator

kwargs = json.loads(sys.argv[1])
store = SimpleNamespace(get=lambda key: None, set=lambda key, value: None)
run = SimpleNamespace(dag_id="deploy_aws", run_id=kwargs["namespace"])
HelmUpgradeOperator(**kwargs).execute({"task_state_store": store, "dag_run": run, "ti": None})
"""


@pytest.mark.parametrize("make", ["helm", "helm3"], indirect=True)
def test_a_killed_task_leaves_no_pending_release(make: Callable[..., Chart]) -> None:
    lab = make(None).lab
    lab.deploy(lab.good)
    kwargs = json.dumps(lab.kwargs(lab.bad, timeout=60))
    with subprocess.Popen([sys.executable, "-c", TASK, kwargs], stdout=subprocess.DEVNULL) as task:
        until(lambda: lab.history()[-1][1] == "pending-upgrade", 60)
        task.kill()
    assert lab.deploy(lab.better)["state"] == "deployed"
    assert not any(status.startswith("pending") for _, status in lab.history())
    assert until(lambda: lab.serving() == {lab.better})
