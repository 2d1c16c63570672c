"""What a parent run costs when nothing has changed, against a shell script that asks the same tools and clouds the same.

Both look at every component of the example in one sandbox: the images, the tests, all stacks, all releases, and what
serves on each cloud. The script does so one after the other, as a person would write it; it starts one process for each
call to a cloud, as the clouds' command line tools do. What the script does not do (change sets, digests, policies, a
record) is in the parent run all the same.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "examples" / "demo"))

from platform_copy import PlatformCopy  # noqa: E402

from triplane.clouds import terraform_credentials  # noqa: E402
from triplane.sandbox.airflow import LocalAirflow  # noqa: E402
from triplane.sandbox.runtime import Sandbox  # noqa: E402
from triplane.terraform.backends import backend_config, state_key  # noqa: E402

ENVIRONMENT = "staging"
PLATFORM = "streaming-platform"
DAG_IDS = ("deploy", "deploy_aws", "deploy_gcp", "deploy_azure")
SECRETS = {"streaming_database_password": "bench-Passw0rd", "streaming_webhook_token": "bench-t0ken"}
CONNECTIONS = {"aws": "aws_default", "gcp": "google_cloud_default", "azure": "azure_default"}
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
    "function": "Microsoft.Web/sites/" + name + "?api-version=2024-04-01",
    "stream": "Microsoft.Web/sites/" + name + "?api-version=2024-04-01",
    "schedule": "Microsoft.Logic/workflows/" + name + "?api-version=2019-05-01",
}
headers = {"Authorization": "Bearer " + azure.manager_tokens("azure_default")()}
requests.get(base + where[kind], headers=headers, timeout=30).raise_for_status()
""",
}


def unchanged_run(scratch: Path) -> float:
    """Seconds of a parent run without changes / seconds of the script; after a deployment and one run of each."""
    scratch.mkdir()
    platform = PlatformCopy(scratch / "platform")
    platform.commit("The platform as it is")
    sandbox = Sandbox.up(scratch / "sandbox", on_progress=lambda line: None)
    os.environ.update(sandbox.environ())
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
        script = scratch / "check.sh"
        script.write_text("\n".join(_script(platform, sandbox, scratch)))
        ours, theirs = [], []
        for _ in range(3):
            ours.append(_unchanged(airflow))
            theirs.append(_seconds(script))
        return min(ours[1:]) / min(theirs[1:])
    finally:
        airflow.stop()
        sandbox.down()


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
    assert alice.wait("deploy", run_id) == "success"
    rows = alice.xcom("deploy", run_id, "report", "rows")
    assert {row["state"] for row in rows} == {"unchanged"}, rows
    return float(alice.get(f"/dags/deploy/dagRuns/{run_id}")["duration"])


def _seconds(script: Path) -> float:
    begun = time.perf_counter()
    subprocess.run(["bash", "-euo", "pipefail", str(script)], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def _script(platform: PlatformCopy, sandbox: Sandbox, scratch: Path) -> Iterator[str]:
    spec = yaml.safe_load(platform.spec.read_text())
    work = scratch / "script"
    yield f"mkdir -p {work}; rm -rf {work}/src; git clone -q {platform.folder} {work}/src; cd {work}/src"
    storage = f"--root {work}/containers --runroot {work}/run --storage-driver vfs"
    for name, image in spec["images"].items():
        yield f"buildah {storage} bud -q --layers --isolation chroot -t bench/{name} {image['context']}"
        for cloud in ("aws", "gcp", "azure"):
            login = _login(cloud, spec["clouds"][cloud]["registry"])
            reference = f"{spec['clouds'][cloud]['registry']}/{PLATFORM}/{name}"
            yield f"skopeo list-tags --creds {login} docker://{reference}"
    for test in spec["tests"].values():
        yield from test["commands"]
    for cloud, part in spec["clouds"].items():
        yield from _stacks(cloud, part, work)
        yield from _releases(cloud, part, sandbox)
        yield from _serverless(cloud, part)


def _stacks(cloud: str, part: Mapping[str, Any], work: Path) -> Iterator[str]:
    env = terraform_credentials(cloud, CONNECTIONS[cloud]).env
    yield from (f"export {name}={shlex.quote(value)}" for name, value in env.items())
    variables = {
        "environment": ENVIRONMENT,
        "size": "small",
        "database_password": SECRETS["streaming_database_password"],
    }
    for stack, body in part["stacks"].items():
        backend = {**part["state"], "key": state_key(PLATFORM, ENVIRONMENT, stack)}
        config = backend_config(cloud, backend, region=part.get("region"))
        options = " ".join(
            shlex.quote(f"-backend-config={key}={_text(value)}") for key, value in config.items()
        )
        folder = f"{work}/src/{body['path']}"
        yield f"terraform -chdir={folder} init -input=false -no-color {options}"
        for name in ("vpc_id", "subnet_ids") if stack == "cluster" else ():
            yield f"export TF_VAR_{name}=$(terraform -chdir={work}/src/infra/{cloud}/network output -json {name} | sed 's/^\"//; s/\"$//')"
        yield from (f"export TF_VAR_{name}={value}" for name, value in variables.items())
        yield f"terraform -chdir={folder} plan -input=false -no-color -detailed-exitcode || test $? = 0"


def _releases(cloud: str, part: Mapping[str, Any], sandbox: Sandbox) -> Iterator[str]:
    kubeconfig = sandbox.home / "kubernetes" / cloud / "admin.kubeconfig"
    yield f"export KUBECONFIG={kubeconfig}"
    for name, chart in part["charts"].items():
        where = f"--namespace {chart['namespace']}"
        yield f"helm get values {name} {where} -o json > values.json"
        yield f"helm get manifest {name} {where} > serves.yaml"
        yield f"helm upgrade {name} {chart['path']} {where} -f values.json --dry-run=server > wanted.yaml"
        yield f"kubectl diff {where} -f serves.yaml"


def _serverless(cloud: str, part: Mapping[str, Any]) -> Iterator[str]:
    names = {
        ("aws", "stream"): "events",
        ("azure", "stream"): "webhook",
    }
    for kind in ("function", "stream", "schedule"):
        for name in part.get(f"{kind}s", ()):
            full = f"{PLATFORM}-{ENVIRONMENT}-{names.get((cloud, kind), name)}"
            code = shlex.quote("import sys" + READS[cloud])
            yield f"{sys.executable} -c {code} {kind} {full}"


def _login(cloud: str, registry: str) -> str:
    from triplane.clouds import registry_login

    user, password = registry_login(cloud, CONNECTIONS[cloud], registry)
    return shlex.quote(f"{user}:{password}")


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="triplane-bench-") as folder:
        print(unchanged_run(Path(folder) / "parent"), file=sys.stderr)
