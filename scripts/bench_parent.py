"""What a parent run costs when nothing has changed, against a shell script that asks the same tools and clouds the same.

Both look at every component of the example in one sandbox: images, tests, stacks, machines, releases, and what serves on each
cloud. The script does so one after the other, as a person would write it, with one process for each call to a cloud, as
the clouds' command line tools are. What it does not do (change sets, digests, policies, a record) the parent run does.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "examples" / "demo"))

import outside  # noqa: E402
from platform_copy import PlatformCopy  # noqa: E402

from triplane.clouds import DEFAULT_CONNECTIONS, registry_login, terraform_credentials  # noqa: E402
from triplane.sandbox.airflow import LocalAirflow  # noqa: E402
from triplane.sandbox.machines.part import machines  # noqa: E402
from triplane.sandbox.runtime import Sandbox  # noqa: E402
from triplane.terraform.backends import backend_config, state_key  # noqa: E402

ENVIRONMENT = "staging"
PLATFORM = "streaming-platform"
DAG_IDS = ("deploy", "deploy_aws", "deploy_gcp", "deploy_azure")
SECRETS = {"streaming_database_password": "bench-Passw0rd", "streaming_webhook_token": "bench-t0ken"}
ROUNDS = 3
READS = {
    "aws": """
from triplane.clouds import aws
kind, name = sys.argv[1:]
if kind == "function": aws.client("lambda", "aws_default").get_function(FunctionName=name, Qualifier="live")
elif kind == "stream": aws.client("lambda", "aws_default").list_event_source_mappings(FunctionName=name)
else: aws.client("scheduler", "aws_default").get_schedule(Name=name)
""",
    "gcp": """
from triplane.clouds import gcp
kind, name = sys.argv[1:]
where = {
    "function": "https://run.googleapis.com/v2/projects/triplane-sandbox/locations/europe-west1/services/" + name,
    "stream": "https://pubsub.googleapis.com/v1/projects/triplane-sandbox/subscriptions/" + name,
    "schedule": "https://cloudscheduler.googleapis.com/v1/projects/triplane-sandbox/locations/europe-west1/jobs/" + name,
}
gcp.session("google_cloud_default").get(where[kind], timeout=30).raise_for_status()
""",
    "azure": """
import requests
from triplane.clouds import azure
kind, name = sys.argv[1:]
base = azure.manager_url("azure_default") + "/subscriptions/" + azure.subscription_id("azure_default")
base += "/resourceGroups/streaming/providers/"
where = {
    "function": "Microsoft.Web/sites/" + name + "?api-version=2025-05-01",
    "stream": "Microsoft.Web/sites/" + name + "?api-version=2025-05-01",
    "schedule": "Microsoft.Logic/workflows/" + name + "?api-version=2019-05-01",
}
headers = {"Authorization": "Bearer " + azure.manager_tokens("azure_default")()}
requests.get(base + where[kind], headers=headers, timeout=30).raise_for_status()
""",
}


def unchanged_run(scratch: Path) -> float:
    """Seconds of a parent run without changes / seconds of the script, the best of each after a deployment and a first try."""
    scratch.mkdir()
    platform = PlatformCopy(scratch / "platform")
    platform.commit("The platform as it is")
    sandbox = Sandbox.up(scratch / "sandbox", on_progress=lambda line: None)
    outer = dict(os.environ)
    os.environ.update(sandbox.environ())
    outside.fill_stores(SECRETS["streaming_database_password"])
    outside.Listener()
    airflow = LocalAirflow(
        scratch / "airflow",
        dags=ROOT / "dags",
        platform=platform.spec,
        environ=sandbox.environ(),
        port=sandbox.port("airflow"),
    )
    try:
        airflow.start()
        airflow.wait_for_dags(*DAG_IDS)
        for key, value in SECRETS.items():
            airflow.api().set_variable(key, value)
        _deploy(airflow)
        script = Script(platform, sandbox, scratch)
        pairs = [(_unchanged(airflow), script.seconds()) for _ in range(ROUNDS)][1:]
        print("parent run, script (seconds):", pairs, file=sys.stderr)
        return min(ours for ours, _ in pairs) / min(theirs for _, theirs in pairs)
    finally:
        airflow.stop()
        sandbox.down()
        os.environ.clear()
        os.environ.update(outer)


def _deploy(airflow: LocalAirflow) -> None:
    alice, bob = airflow.api("alice"), airflow.api("bob")
    run_id = alice.trigger("deploy", {"environment": ENVIRONMENT})
    for question in alice.wait_for_question("deploy", run_id):
        bob.answer(question, "Approve")
    assert alice.wait("deploy", run_id) == "success"


def _unchanged(airflow: LocalAirflow) -> float:
    """As Airflow counts it: from the start of the run to its end."""
    alice = airflow.api("alice")
    run_id = alice.trigger("deploy", {"environment": ENVIRONMENT})
    assert alice.wait("deploy", run_id, poll=3) == "success"
    rows = alice.xcom("deploy", run_id, "report", "rows")
    assert {row["state"] for row in rows} == {"unchanged"}, rows
    return float(alice.get(f"/dags/deploy/dagRuns/{run_id}")["duration"])


class Script:
    """The shell script. What is secret in it comes to it by its environment."""

    def __init__(self, platform: PlatformCopy, sandbox: Sandbox, scratch: Path) -> None:
        self._platform = platform
        self._sandbox = sandbox
        self._spec = yaml.safe_load(platform.spec.read_text())
        self._work = scratch / "script"
        self._environ = dict(os.environ)
        self._path = scratch / "check.sh"
        self._path.write_text("\n".join(self._lines()))

    def seconds(self) -> float:
        """Run it to its end."""
        begun = time.perf_counter()
        done = subprocess.run(
            ["bash", "-euo", "pipefail", str(self._path)], env=self._environ, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return time.perf_counter() - begun

    def _lines(self) -> Iterator[str]:
        work = self._work
        yield f"mkdir -p {work}; rm -rf {work}/src; git clone -q {self._platform.folder} {work}/src; cd {work}/src"
        yield from self._images()
        for test in self._spec["tests"].values():
            yield from test["commands"]
        for cloud, part in self._spec["clouds"].items():
            yield from self._stacks(cloud, part)
            yield from self._machines(cloud, part)
            yield from self._releases(cloud, part)
            yield from self._serverless(cloud, part)

    def _images(self) -> Iterator[str]:
        logins = f"--authfile {self._work}/auth.json"
        for cloud, part in self._spec["clouds"].items():
            host = part["registry"].partition("/")[0]
            user, self._environ[f"PASSWORD_{cloud}"] = registry_login(
                cloud, DEFAULT_CONNECTIONS[cloud], part["registry"]
            )
            yield f"printenv PASSWORD_{cloud} | skopeo login {logins} -u {shlex.quote(user)} --password-stdin {host}"
        storage = f"--root {self._work}/containers --runroot {self._work}/run --storage-driver vfs"
        for name, image in self._spec["images"].items():
            yield f"buildah {storage} bud -q --layers --isolation chroot -t bench/{name} {image['context']}"
            for part in self._spec["clouds"].values():
                if _runs(part, name):
                    yield f"skopeo list-tags {logins} docker://{part['registry']}/{PLATFORM}/{name}"

    def _stacks(self, cloud: str, part: Mapping[str, Any]) -> Iterator[str]:
        self._environ |= terraform_credentials(cloud, DEFAULT_CONNECTIONS[cloud]).env
        self._environ |= {
            "TF_VAR_environment": ENVIRONMENT,
            "TF_VAR_size": "small",
            "TF_VAR_database_password": SECRETS["streaming_database_password"],
        }
        for stack, body in part["stacks"].items():
            backend = {**part["state"], "key": state_key(PLATFORM, ENVIRONMENT, stack)}
            config = backend_config(cloud, backend, region=part.get("region"))
            options = " ".join(
                shlex.quote(f"-backend-config={key}={_text(value)}") for key, value in config.items()
            )
            terraform = f"terraform -chdir={self._work}/src/{body['path']}"
            yield f"{terraform} init -input=false -no-color {options}"
            for name in ("vpc_id", "subnet_ids") if stack == "cluster" else ():
                value = f"terraform -chdir={self._work}/src/infra/{cloud}/network output -json {name}"
                yield f"""export TF_VAR_{name}=$({value} | sed 's/^"//; s/"$//')"""
            yield f"{terraform} plan -input=false -no-color -detailed-exitcode"

    def _machines(self, cloud: str, part: Mapping[str, Any]) -> Iterator[str]:
        known, options = self._work.with_name(f"known-{cloud}"), "-o ControlMaster=auto -o ControlPersist=15s"
        self._environ["BENCH_TOKEN"] = SECRETS["streaming_webhook_token"]
        yield f'export ANSIBLE_PIPELINING=1 ANSIBLE_SSH_ARGS="{options} -o UserKnownHostsFile={known}"'
        found = machines(self._sandbox, cloud)
        known.write_text("".join(f"[127.0.0.1]:{each.port} {each.host_key}\n" for each in found))
        hosts = {each.name: {**each.host()["variables"], **_ansible(each.host())} for each in found}
        inventory = self._work.with_name(f"machines-{cloud}.yaml")
        inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
        given = {"environment_name": ENVIRONMENT, "token": "{{ lookup('env', 'BENCH_TOKEN') }}"}
        for body in part["machines"].values():
            outputs = f"terraform -chdir={self._work}/src/infra/{cloud}/cluster output -raw bucket"
            tool = f"{Path(sys.executable).with_name('ansible-playbook')} -i {inventory} --check --diff"
            key = f"--private-key {self._sandbox.home / 'machines' / 'key'}"
            variables = f"-e {shlex.quote(json.dumps(given))} -e bucket=$({outputs})"
            yield f"{tool} {key} {variables} {body['playbook']}"

    def _releases(self, cloud: str, part: Mapping[str, Any]) -> Iterator[str]:
        yield f"export KUBECONFIG={self._sandbox.home / 'kubernetes' / cloud / 'admin.kubeconfig'}"
        for name, chart in part["charts"].items():
            where = f"--namespace {chart['namespace']}"
            yield f"helm get values {name} {where} -o json > values.json"
            yield f"helm get manifest {name} {where} > serves.yaml"
            yield f"helm upgrade {name} {chart['path']} {where} -f values.json --dry-run=server > wanted.yaml"
            yield f"kubectl diff {where} -f serves.yaml"

    def _serverless(self, cloud: str, part: Mapping[str, Any]) -> Iterator[str]:
        called = {("aws", "stream"): "events", ("azure", "stream"): "webhook"}
        for kind in ("function", "stream", "schedule"):
            for name in part.get(f"{kind}s", ()):
                full = f"{PLATFORM}-{ENVIRONMENT}-{called.get((cloud, kind), name)}"
                yield f"{sys.executable} -c {shlex.quote('import sys' + READS[cloud])} {kind} {full}"


def _runs(part: Mapping[str, Any], image: str) -> bool:
    """Whether a cloud runs an image, and so has it."""
    charts = [name for chart in part["charts"].values() for name in chart.get("images", {}).values()]
    return image in [*charts, *(function.get("image") for function in part["functions"].values())]


def _ansible(host: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "ansible_host": host["address"],
        "ansible_port": host["port"],
        "ansible_user": host["user"],
    }


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)
