"""`docker-compose.yaml`: valid, and run for real on a Docker Engine of our own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.test_images_docker import started
from triplane.sandbox.airflow import AirflowApi
from triplane.sandbox.runtime import default_cache

ROOT = Path(__file__).parents[2]
STAND_INS = ROOT / "tests" / "testdata" / "compose"
PROJECT = "triplane-smoke"
KUBERNETES = "local"
BASE, SERVICES, IMAGE, SANDBOX = (
    "triplane-base:13",
    "triplane-services:13",
    "triplane:smoke",
    "triplane-sandbox:smoke",
)
PARTS = {"api-server", "scheduler", "dag-processor", "triggerer", "worker"}
SANDBOXED = {"sandbox-worker", "sandbox-triggerer"}
CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
READY_SECONDS = 420.0
BUILD = """
import shutil
from pathlib import Path
from triplane.images.builders import BuildRequest
from triplane.images.builders.buildah import Buildah
from triplane.images.operators import layer_storage
context = Path("/tmp/context")
context.mkdir()
shutil.copy("/usr/bin/tini-static", context)
(context / "Dockerfile").write_text('FROM scratch\\nCOPY tini-static /\\nRUN ["/tini-static", "--version"]\\n')
Buildah(layer_storage()).build(BuildRequest(name="x", context=context), Path("/tmp/layout"), log=print)
assert Path("/tmp/layout/index.json").is_file()
"""
SECRET = re.compile(r"password|secret|_key|token", re.IGNORECASE)


class Compose:
    """docker-compose on this checkout, with a port of its own and, with ``host``, on that Engine."""

    def __init__(self, host: str = "", port: int = 8080, profile: str = "clouds") -> None:
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TRIPLANE_")},
            "DOCKER_BUILDKIT": "0",
            "COMPOSE_PROFILES": profile,
            "TRIPLANE_PORT": str(port),
            "TRIPLANE_BASE": BASE,
            "TRIPLANE_IMAGE": IMAGE,
            "TRIPLANE_SANDBOX_IMAGE": SANDBOX,
            "TRIPLANE_KUBERNETES": KUBERNETES,
            "TRIPLANE_POSTGRES_IMAGE": SERVICES,
            "TRIPLANE_REDIS_IMAGE": SERVICES,
            "TRIPLANE_WORKER_CONCURRENCY": "2",
            **({"DOCKER_HOST": host} if host else {}),
        }

    def __call__(self, *arguments: str, timeout: float = 120) -> str:
        files = ("--file", str(ROOT / "docker-compose.yaml"), "--file", str(STAND_INS / "offline.yaml"))
        command = ("docker-compose", "--project-name", PROJECT, "--project-directory", str(ROOT), *files)
        return self.run(*command, *arguments, timeout=timeout)

    def docker(self, *arguments: str, timeout: float = 120) -> str:
        return self.run("docker", *arguments, timeout=timeout)

    def run(self, *argv: str, timeout: float) -> str:
        done = subprocess.run(
            argv, env=self.environ, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False
        )
        assert done.returncode == 0, f"{' '.join(argv)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    def containers(self) -> list[dict[str, Any]]:
        """What `docker inspect` says of each container of the project."""
        ids = self.docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}")
        return list(json.loads(self.docker("inspect", *ids.split())))


def plain() -> dict[str, Any]:
    """The file as people get it, with the settings in ``.env``."""
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("TRIPLANE_", "COMPOSE_"))
    }
    done = subprocess.run(
        ["docker-compose", "config"],
        env={**environ, "COMPOSE_PROFILES": "clouds,sandbox"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(yaml.safe_load(done.stdout))


def test_the_file_is_valid_and_holds_no_secret() -> None:
    services = plain()["services"]
    assert set(services) == PARTS | SANDBOXED | {"secrets", "migrate", "postgres", "redis", "sandbox"}
    for name, service in services.items():
        assert re.fullmatch(r"[\w./-]+:[\w.-]*\d[\w.-]*", service["image"]), f"{name} is not pinned"
        assert name in ("secrets", "migrate") or service["healthcheck"]["test"], name
        ends = name in ("secrets", "migrate", "sandbox")
        assert service.get("restart") == ("no" if ends else "unless-stopped")
        for variable, value in (service.get("environment") or {}).items():
            assert not SECRET.search(variable) or str(value).startswith(
                ("cat /run/secrets/", "/run/secrets/")
            ), variable
    assert {name for name in PARTS | SANDBOXED if services[name]["cap_drop"] != ["ALL"]} == set()


def test_only_those_who_run_tasks_hold_the_keys_and_only_the_others_the_database() -> None:
    services = plain()["services"]
    mounted = {
        name: {str(volume).split(":")[0] for volume in service.get("volumes", ())}
        for name, service in services.items()
        if name != "secrets"
    }
    readers = {name for name, volumes in mounted.items() if "secrets-artifacts" in volumes}
    assert readers == {"worker", "triggerer", "api-server"} | SANDBOXED
    signers = {name for name, volumes in mounted.items() if "secrets-worker" in volumes}
    assert signers == {"worker", "triggerer"} | SANDBOXED
    control = {name for name, volumes in mounted.items() if "secrets-airflow" in volumes}
    assert control == (PARTS | SANDBOXED | {"migrate"}) - {"worker", "sandbox-worker"}
    for name in ("worker", "triggerer"):
        assert mounted[f"sandbox-{name}"] == mounted[name] | {"sandbox"}
    assert mounted["sandbox"] == {"sandbox"}
    assert [name for name, service in services.items() if service.get("ports")] == ["api-server"]


@pytest.fixture(scope="module")
def compose() -> Iterator[Compose]:
    """Everything up and healthy, on an Engine of our own."""
    base = debian()
    with started(os.environ) as host:
        compose = Compose(host, port=free_port())
        with base.open("rb") as archive:
            subprocess.run(
                ["docker", "import", *trust(), "-", BASE],
                stdin=archive,
                env=compose.environ,
                check=True,
                timeout=300,
            )
        compose.docker(
            "build",
            "--network=host",
            f"--build-arg=BASE={BASE}",
            f"--tag={SERVICES}",
            str(STAND_INS),
            timeout=900,
        )
        compose("build", "secrets", timeout=2400)
        try:
            compose("up", "--detach", "--no-build", timeout=READY_SECONDS)
            healthy(compose, PARTS | {"postgres", "redis"})
            yield compose
        finally:
            compose("down", "--volumes", "--timeout", "20", timeout=300)


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.skipif(os.geteuid() != 0, reason="starting a Docker Engine takes root")
def test_up_deploy_and_down(compose: Compose) -> None:
    api = signed_in(compose, "alice")
    wait_for(lambda: {"deploy", "deploy_aws", "deploy_gcp", "deploy_azure", "drift_check"} <= api.dags())
    assert api.get("/importErrors")["import_errors"] == []

    # A worker freezes the platform: it reaches the API server, the broker, the artifact store and its keys.
    for dag_id in api.dags():
        assert api.request("PATCH", f"/dags/{dag_id}", json={"is_paused": False}).is_success
    run = api.trigger("deploy", {"environment": "staging", "action": "plan"})
    wait_for(lambda: frozen(api, run) == "success", f"freeze is {frozen(api, run)}")

    for tool in (
        "terraform -version",
        "helm version",
        "kubectl version --client",
        "ansible-playbook --version",
        "git version",
    ):
        program = (
            'python -c "from triplane.terraform.binary import find; print(find())"'
            if "terraform" in tool
            else tool
        )
        compose("exec", "-T", "worker", "sh", "-c", program)
    compose("exec", "-T", "worker", "python", "-c", BUILD, timeout=120)
    check_containers(compose)


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.skipif(os.geteuid() != 0, reason="starting a Docker Engine takes root")
def test_the_sandbox_in_a_container(compose: Compose) -> None:
    """The whole example to three clouds, asked for by Alice and approved by Bob; then no drift."""
    for name in CONTROL_PLANE:
        control_plane(compose, name)
    compose("rm", "--stop", "--force", "worker", "triggerer", timeout=120)
    compose.environ["COMPOSE_PROFILES"] = "sandbox"
    compose("build", "sandbox", timeout=2400)
    compose("up", "--detach", "--no-build", timeout=READY_SECONDS)
    healthy(compose, (PARTS - {"worker", "triggerer"}) | SANDBOXED | {"sandbox"})
    alice, bob = signed_in(compose, "alice"), signed_in(compose, "bob")
    for dag_id in alice.dags():
        assert alice.request("PATCH", f"/dags/{dag_id}", json={"is_paused": False}).is_success
    run = alice.trigger("deploy", {"environment": "staging"})
    for question in alice.wait_for_question("deploy", run, timeout=READY_SECONDS):
        assert bob.answer(question, "Approve").status_code == 200
    ended = alice.wait("deploy", run, timeout=1800)
    rows = alice.xcom("deploy", run, "report", "rows") or []
    assert ended == "success", rows
    assert {row["state"] for row in rows} == {"deployed"}, rows
    assert {row["cloud"] for row in rows} == {"aws", "gcp", "azure"}
    check = alice.trigger("drift_check", {"environment": "staging"})
    assert alice.wait("drift_check", check, timeout=600) == "success"


def signed_in(compose: Compose, name: str) -> AirflowApi:
    passwords = json.loads(compose("exec", "-T", "api-server", "cat", "/run/secrets/users/passwords.json"))
    return AirflowApi(f"http://127.0.0.1:{compose.environ['TRIPLANE_PORT']}", name, passwords[name])


def control_plane(compose: Compose, name: str) -> None:
    """An image with one program of the control plane, laid out as Kubernetes' own, and called so by the Dockerfile."""
    version = re.findall(r"^ARG KUBERNETES_VERSION=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[
        0
    ]
    program = (default_cache() / "bin" / name).resolve()
    with tempfile.TemporaryFile() as archive:
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(program, f"usr/local/bin/{name}")
        archive.seek(0)
        command = ["docker", "import", "-", f"{KUBERNETES}/{name}:{version}"]
        subprocess.run(command, stdin=archive, env=compose.environ, check=True, timeout=300)


def frozen(api: AirflowApi, run: str) -> str:
    return next((str(task["state"]) for task in api.tasks("deploy", run) if task["task_id"] == "freeze"), "")


def check_containers(compose: Compose) -> None:
    """Ours run as nobody special, and nobody's secret is in the environment or in an argument."""
    each = 'for file in /run/secrets/*/*; do cat "$file"; echo; done'
    secrets = compose("exec", "-T", "triggerer", "sh", "-c", each).split()
    assert len(secrets) > 5
    for container in compose.containers():
        said = json.dumps([container["Config"], container["Args"]])
        assert not [secret for secret in secrets if secret in said], container["Name"]
        if container["Config"]["Image"] == IMAGE:
            assert container["Config"]["User"] == "50000:0", container["Name"]


def healthy(compose: Compose, names: Collection[str]) -> None:
    """Wait until they are."""

    def states() -> dict[str, str]:
        return {
            container["Config"]["Labels"]["com.docker.compose.service"]: container["State"]
            .get("Health", {})
            .get("Status", "")
            for container in compose.containers()
        }

    try:
        wait_for(lambda: all(states().get(name) == "healthy" for name in names))
    except AssertionError:
        print(states(), compose("logs", "--tail=40"))
        raise


def wait_for(condition: Any, what: str = "") -> None:
    end = time.monotonic() + READY_SECONDS
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(2)


def debian() -> Path:
    """Debian 13 as a base image, made once, with the authorities that this machine trusts."""
    kept = default_cache() / "debian-13.tar"
    if kept.exists():
        return kept
    root = default_cache() / "debian-13"
    shutil.rmtree(root, ignore_errors=True)
    subprocess.run(["debootstrap", "--variant=minbase", "trixie", str(root)], check=True, capture_output=True)
    authorities = "usr/local/share/ca-certificates"
    shutil.copytree(Path("/") / authorities, root / authorities, dirs_exist_ok=True)
    subprocess.run(["tar", "-C", str(root), "-cf", f"{kept}.new", "."], check=True)
    Path(f"{kept}.new").replace(kept)
    shutil.rmtree(root)
    return kept


def trust() -> list[str]:
    """What has Python's tools in the image trust what Debian's do."""
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    return ["--change", f"ENV SSL_CERT_FILE={bundle} PIP_CERT={bundle} NODE_EXTRA_CA_CERTS={bundle}"]


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
