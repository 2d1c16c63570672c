"""Reads the clouds with their own SDKs, beside Triplane: does what it reported really stand there?"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import clients
import event_reads
from progress import say

from triplane.sandbox.machines.part import machines
from triplane.sandbox.runtime import Sandbox

PLATFORM = "streaming-platform"
NAMESPACE = "streaming"
CLOUDS = ("aws", "gcp", "azure")
STACKS = ("network", "cluster")


class Disagreement(Exception):
    """A read does not agree with the report."""


def check_all(sandbox: Sandbox, rows: Sequence[Mapping[str, Any]], environment: str) -> None:
    """Read everything that ``rows`` speak of. :raises Disagreement: the clouds say something else"""
    found = {(row["cloud"], row["component"]): row["version"] for row in rows}
    google, azure = clients.google(), clients.azure()
    serials = {
        **{("aws", stack): _aws_serial(environment, stack) for stack in STACKS},
        **{("gcp", stack): _google_serial(google, environment, stack) for stack in STACKS},
        **{("azure", stack): _azure_serial(azure, environment, stack) for stack in STACKS},
    }
    for (cloud, stack), serial in serials.items():
        _agree(f"{cloud}: state of {stack}", f"serial {serial}", found[cloud, f"stack/{stack}"])
    digests = {cloud: _releases(sandbox, cloud, found) for cloud in CLOUDS}
    _agree("the image digests that serve", digests["gcp"], digests["aws"])
    _agree("the image digests that serve", digests["azure"], digests["aws"])
    _agree("Lambda alias", _lambda_version(environment), found["aws", "function/webhook"])
    _agree("Cloud Run traffic", _cloud_run_revision(google, environment), found["gcp", "function/webhook"])
    _agree("function app", _azure_deployment(azure, environment), found["azure", "function/webhook"])
    _events(google, azure, environment)
    workers = sum(_workers(sandbox, cloud, environment) for cloud in CLOUDS)
    say(
        f"independent reads agree: {len(serials)} states, {len(digests['aws'])} images on 3 clouds, "
        f"3 functions, 3 streams, 3 schedules, {workers} machines"
    )


def _events(google: Callable[..., Any], azure: tuple[Any, str], environment: str) -> None:
    """Streams and schedules, by what they are and by what they do."""
    name, topic = f"{PLATFORM}-{environment}-events", f"streaming-{environment}-events"
    _agree("Kinesis", event_reads.kinesis(clients.aws, environment), ("Enabled", "logged"))
    _agree("EventBridge", event_reads.eventbridge(clients.aws, environment), ("ENABLED", f"{name}:live"))
    _agree("Pub/Sub", event_reads.pubsub(google, environment), (topic, "/cgi-bin/events"))
    _agree("Cloud Scheduler", event_reads.cloud_scheduler(google, environment), ("ENABLED", {}))
    _agree("Event Hubs", event_reads.event_hubs(azure, environment), ("events", name))
    _agree("Logic Apps", event_reads.logic_apps(azure, environment), ("Enabled", ["Succeeded"]))


def _workers(sandbox: Sandbox, cloud: str, environment: str) -> int:
    """The machines of a cloud: what the playbook was to make of each."""
    found = machines(sandbox, cloud)
    for machine in found:
        etc = machine.home / "etc" / "streaming"
        settings = dict(line.split("=", 1) for line in (etc / "worker.conf").read_text().splitlines())
        read = (settings["environment"], settings["worker"], (etc / "token").stat().st_mode & 0o777)
        _agree(f"{cloud}: settings of {machine.name}", read, (environment, machine.name, 0o600))
    return len(found)


def damage(environment: str) -> None:
    """Change a tag of the AWS network by hand, as somebody in a hurry would."""
    client = clients.aws("ec2")
    filters = [{"Name": "tag:environment", "Values": [environment]}]
    vpc = client.describe_vpcs(Filters=filters)["Vpcs"][0]["VpcId"]
    client.create_tags(Resources=[vpc], Tags=[{"Key": "environment", "Value": "changed-by-hand"}])
    say(f"the tag `environment` of {vpc} is `changed-by-hand` now")


def _agree(what: str, read: Any, expected: Any) -> None:
    if read != expected:
        raise Disagreement(f"{what}: read {read!r}, expected {expected!r}")


def _key(environment: str, stack: str) -> str:
    return f"{PLATFORM}/{environment}/{stack}"


def _aws_serial(environment: str, stack: str) -> int:
    key = f"{_key(environment, stack)}.tfstate"
    body = clients.aws("s3").get_object(Bucket="streaming-tfstate", Key=key)["Body"].read()
    return int(json.loads(body)["serial"])


def _lambda_version(environment: str) -> str:
    alias = clients.aws("lambda").get_alias(FunctionName=f"{PLATFORM}-{environment}-webhook", Name="live")
    return str(alias["FunctionVersion"])


def _google_serial(get: Callable[..., Any], environment: str, stack: str) -> int:
    name = f"{_key(environment, stack)}/default.tfstate".replace("/", "%2F")
    return int(
        get(f"https://storage.googleapis.com/storage/v1/b/streaming-tfstate/o/{name}?alt=media")["serial"]
    )


def _cloud_run_revision(get: Callable[..., Any], environment: str) -> str:
    service = f"projects/triplane-sandbox/locations/europe-west1/services/{PLATFORM}-{environment}-webhook"
    found = get(f"https://run.googleapis.com/v2/{service}")
    serving = [item for item in found["trafficStatuses"] if item.get("percent")]
    latest = found["latestReadyRevision"].rpartition("/")[2]
    return ",".join(item.get("revision", latest).rpartition("/")[2] for item in serving)


def _azure_serial(azure: tuple[Any, str], environment: str, stack: str) -> int:
    from azure.mgmt.storage import StorageManagementClient
    from azure.storage.blob import BlobClient

    account = "streamingtfstate"
    keys = StorageManagementClient(*azure).storage_accounts.list_keys("streaming", account)
    url = f"https://{account}.blob.core.windows.net"
    blob = BlobClient(
        url, "tfstate", f"{_key(environment, stack)}.tfstate", credential=keys.keys_property[0].value
    )
    return int(json.loads(blob.download_blob().readall())["serial"])


def _azure_deployment(azure: tuple[Any, str], environment: str) -> str:
    import requests

    token = azure[0].get_token("https://management.azure.com/.default").token
    site = f"{PLATFORM}-{environment}-webhook"
    url = f"https://{site}.scm.azurewebsites.net/api/deployments/latest"
    answer = requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=60)
    answer.raise_for_status()
    return str(answer.json()["id"])


def _releases(sandbox: Sandbox, cloud: str, found: Mapping[tuple[str, str], str]) -> dict[str, str]:
    """Release -> the image digest that its deployment runs; every digest is in the cloud's registry."""
    kubeconfig = str(sandbox.home / "kubernetes" / cloud / "admin.kubeconfig")
    listed = _tool("helm", "list", "--namespace", NAMESPACE, "--output", "json", "--kubeconfig", kubeconfig)
    serving = {}
    for release in json.loads(listed):
        name = release["name"]
        _agree(f"{cloud}: helm list, {name}", release["revision"], found[cloud, f"chart/{name}"])
        _agree(f"{cloud}: helm list, {name}", release["status"], "deployed")
        serving[name] = _image(sandbox, cloud, name, kubeconfig)
    _agree(f"{cloud}: helm list", sorted(serving), ["ingest", "query"])
    return serving


def _image(sandbox: Sandbox, cloud: str, release: str, kubeconfig: str) -> str:
    selector = f"app.kubernetes.io/instance={release}"
    path = "jsonpath={.items[*].spec.template.spec.containers[*].image}"
    image = _tool(
        *("kubectl", "get", "deployments", "--namespace", NAMESPACE, "--selector", selector),
        *("--output", path, "--kubeconfig", kubeconfig),
    )
    host, _, rest = image.partition("/")
    repository, _, digest = rest.partition("@")
    _agree(f"{host}: digest of {repository}", _registry_digest(sandbox, cloud, repository, digest), digest)
    return digest


def _registry_digest(sandbox: Sandbox, cloud: str, repository: str, digest: str) -> str:
    import requests

    url = f"http://127.0.0.1:{sandbox.port(f'registry-{cloud}')}/v2/{repository}/manifests/{digest}"
    answer = requests.head(url, headers={"Accept": "application/vnd.oci.image.manifest.v1+json"}, timeout=30)
    answer.raise_for_status()
    return str(answer.headers["Docker-Content-Digest"])


def _tool(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout
