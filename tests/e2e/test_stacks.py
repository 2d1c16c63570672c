"""The example's six stacks, by real Terraform: create, nothing to do, damage, drift, repair, change, destroy."""

from __future__ import annotations

import json
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.few import few
from triplane import clouds
from triplane.core.process import tool_env

pytestmark = pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not on PATH")

INFRA = Path(__file__).parents[2] / "examples" / "streaming-platform" / "infra"
CONNECTIONS = {
    "aws": ("aws_default", {"region": "eu-west-1"}),
    "gcp": ("google_cloud_default", {}),
    "azure": ("azure_default", {}),
}
PASSWORD = "planted-Passw0rd"
NOTHING, CHANGES = 0, 2


@dataclass
class Stack:
    """A working copy of one stack with its state in the cloud's own backend."""

    directory: Path
    env: dict[str, str]
    seen: list[str] = field(default_factory=list)

    def run(self, *argv: str, accept: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["terraform", *argv],
            cwd=self.directory,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        self.seen += [done.stdout, done.stderr]
        assert done.returncode in accept, f"{argv[0]}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done

    def plan(self, *options: str) -> int:
        argv = ("plan", "-no-color", "-input=false", "-detailed-exitcode", *options)
        return self.run(*argv, accept=(NOTHING, CHANGES)).returncode

    def drift(self) -> dict[str, str]:
        """Address -> action of everything that differs from the state."""
        done = self.run("plan", "-refresh-only", "-json", accept=(NOTHING, CHANGES))
        events = [json.loads(line) for line in done.stdout.splitlines()]
        changes = [event["change"] for event in events if event["type"] == "resource_drift"]
        return {change["resource"]["addr"]: change["action"] for change in changes}

    def apply(self, *options: str) -> None:
        self.run("apply", "-no-color", "-input=false", "-auto-approve", *options)

    def outputs(self) -> dict[str, Any]:
        found = json.loads(self.run("output", "-json").stdout)
        return {name: output["value"] for name, output in found.items()}

    def addresses(self) -> set[str]:
        return set(self.run("state", "list").stdout.split())

    def set(self, **variables: Any) -> None:
        texts = {name: v if isinstance(v, str) else json.dumps(v) for name, v in variables.items()}
        self.env.update({f"TF_VAR_{name}": text for name, text in texts.items()})


def backend(cloud: str, stack: str) -> Mapping[str, str]:
    key = f"tests/{uuid.uuid4()}/{stack}"
    if cloud == "aws":
        lock = {"dynamodb_table": "streaming-tflock", "region": "eu-west-1"}
        return {"bucket": "streaming-tfstate", "key": key, **lock}
    if cloud == "gcp":
        return {"bucket": "streaming-tfstate", "prefix": key}
    account = {"resource_group_name": "streaming", "storage_account_name": "streamingtfstate"}
    return {**account, "container_name": "tfstate", "key": key}


@pytest.fixture
def open_stack(tmp_path: Path, cloud_env: dict[str, str]) -> Iterator[Callable[[str, str], Stack]]:
    """Opens a stack, initialized; destroys all that were opened, last first, whatever happened."""
    opened: list[Stack] = []

    def open_one(cloud: str, name: str) -> Stack:
        directory = tmp_path / cloud / name
        shutil.copytree(INFRA / cloud / name, directory)
        conn_id, options = CONNECTIONS[cloud]
        env = tool_env("TF_CLI_CONFIG_FILE", **clouds.terraform_credentials(cloud, conn_id, **options).env)
        stack = Stack(directory, env | {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"})
        # Names of its own: other tests and a demo may use the same sandbox.
        stack.set(environment=f"t{uuid.uuid4().hex[:5]}")
        settings = [f"-backend-config={key}={value}" for key, value in backend(cloud, name).items()]
        stack.run("init", "-no-color", "-input=false", *settings)
        opened.append(stack)
        return stack

    yield open_one
    for stack in reversed(opened):
        stack.apply("-destroy")
        assert stack.addresses() == set()


def damage_aws(stack: Stack) -> dict[str, str]:
    """Somebody changes a tag of the network and a switch of a subnet, and deletes the way to the internet."""
    from triplane.clouds import aws

    ec2 = aws.client("ec2", "aws_default", "eu-west-1")
    found = stack.outputs()
    ec2.create_tags(Resources=[found["vpc_id"]], Tags=[{"Key": "environment", "Value": "mallory"}])
    off = {"Value": False}
    ec2.modify_subnet_attribute(SubnetId=found["subnet_ids"][0], MapPublicIpOnLaunch=off)
    filters = [{"Name": "vpc-id", "Values": [found["vpc_id"]]}]
    (table,) = ec2.describe_route_tables(Filters=filters)["RouteTables"]
    ec2.delete_route(RouteTableId=table["RouteTableId"], DestinationCidrBlock="0.0.0.0/0")
    return {"aws_vpc.main": "update", "aws_subnet.main[0]": "update", "aws_route.internet": "delete"}


def damage_gcp(stack: Stack) -> dict[str, str]:
    """Somebody deletes the subnetwork."""
    call_google(stack, "DELETE", f"compute/v1/{stack.outputs()['subnet_ids'][0]}")
    return {"google_compute_subnetwork.main": "delete"}


def damage_azure(stack: Stack) -> dict[str, str]:
    """Somebody changes the network's tags and deletes its subnet."""
    found = stack.outputs()
    call_azure(stack, "PATCH", found["vpc_id"], {"tags": {"environment": "mallory"}})
    call_azure(stack, "DELETE", found["subnet_ids"][0])
    return {"azurerm_virtual_network.main": "update", "azurerm_subnet.nodes": "delete"}


def call_google(stack: Stack, method: str, path: str, host: str = "compute", body: Any = None) -> Any:
    """Calls Google Cloud and waits for the operation of a change of the network."""
    import requests

    headers = {"Authorization": f"Bearer {stack.env['GOOGLE_OAUTH_ACCESS_TOKEN']}"}
    url = f"https://{host}.googleapis.com/{path}"
    answer = requests.request(method, url, headers=headers, json=body, timeout=30)
    assert answer.ok, answer.text
    found = answer.json()
    if host == "compute" and method != "GET":
        requests.post(f"{found['selfLink']}/wait".replace("www.", "compute.", 1), headers=headers, timeout=30)
    return found


def call_azure(stack: Stack, method: str, resource: str, body: Any = None) -> None:
    """Calls the resource manager through the SDK, and waits."""
    from azure.identity import ClientSecretCredential
    from azure.mgmt.containerservice import ContainerServiceClient
    from azure.mgmt.network import NetworkManagementClient

    credential = ClientSecretCredential(
        *(stack.env[name] for name in ("ARM_TENANT_ID", "ARM_CLIENT_ID", "ARM_CLIENT_SECRET"))
    )
    names = resource.split("/")
    subscription = stack.env["ARM_SUBSCRIPTION_ID"]
    if "managedClusters" in names:
        clusters = ContainerServiceClient(credential, subscription).managed_clusters
        clusters.begin_update_tags(names[4], names[8], body).result()
        return
    network = NetworkManagementClient(credential, subscription)
    if method == "DELETE":
        network.subnets.begin_delete(names[4], names[8], names[10]).result()
    else:
        network.virtual_networks.update_tags(names[4], names[8], body)


DAMAGE = {"aws": damage_aws, "gcp": damage_gcp, "azure": damage_azure}


@pytest.mark.parametrize("cloud", few(sorted(CONNECTIONS), ["aws"]))
def test_network(cloud: str, open_stack: Callable[[str, str], Stack]) -> None:
    stack = open_stack(cloud, "network")
    assert stack.plan() == CHANGES
    stack.apply()
    assert stack.plan() == NOTHING
    assert stack.drift() == {}

    expected = DAMAGE[cloud](stack)
    assert stack.drift() == expected
    stack.apply()
    assert stack.plan() == NOTHING


def damage_aws_cluster(stack: Stack) -> dict[str, str]:
    from triplane.clouds import aws

    found = stack.outputs()
    arn = f"arn:aws:eks:eu-west-1:000000000000:cluster/{found['name']}"
    aws.client("eks", "aws_default", "eu-west-1").untag_resource(resourceArn=arn, tagKeys=["platform"])
    aws.client("s3", "aws_default", "eu-west-1").delete_bucket(Bucket=found["bucket"])
    return {"aws_eks_cluster.main": "update", "aws_s3_bucket.events": "delete"}


def damage_gcp_cluster(stack: Stack) -> dict[str, str]:
    bucket = stack.outputs()["bucket"]
    body = {"labels": {"environment": "mallory"}}
    call_google(stack, "PATCH", f"storage/v1/b/{bucket}", "storage", body)
    return {"google_storage_bucket.events": "update"}


def damage_azure_cluster(stack: Stack) -> dict[str, str]:
    found = stack.outputs()
    group = found["identity_id"].rpartition("/providers/")[0]
    cluster = f"{group}/providers/Microsoft.ContainerService/managedClusters/{found['name']}"
    call_azure(stack, "PATCH", cluster, {"tags": {"environment": "mallory"}})
    return {"azurerm_kubernetes_cluster.main": "update"}


DAMAGE_CLUSTER = {"aws": damage_aws_cluster, "gcp": damage_gcp_cluster, "azure": damage_azure_cluster}
OUTPUTS = {
    "aws": {"webhook_role_arn", "stream_arn", "dead_letter_arn", "scheduler_role_arn"},
    "gcp": {"webhook_service_account", "topic", "dead_letter_topic"},
    "azure": {"identity_id", "event_hub_id"},
}


@pytest.mark.parametrize("cloud", few(sorted(CONNECTIONS), ["gcp"]))
def test_cluster(cloud: str, open_stack: Callable[[str, str], Stack]) -> None:
    network = open_stack(cloud, "network")
    network.apply()
    stack = open_stack(cloud, "cluster")
    stack.set(size="small", database_password=PASSWORD, **network.outputs())
    stack.apply()
    assert stack.plan() == NOTHING
    assert set(stack.outputs()) == {"name", "bucket", "database_endpoint", *OUTPUTS[cloud]}
    assert all(stack.outputs().values())

    expected = DAMAGE_CLUSTER[cloud](stack)
    assert stack.drift() == expected
    stack.apply()
    assert stack.plan() == NOTHING

    clusters = {address for address in stack.addresses() if "cluster.main" in address}
    stack.set(size="large", database_password=f"{PASSWORD}-new")
    assert stack.plan("-out=grow") == CHANGES
    assert actions(stack, "grow").isdisjoint({"delete"})
    stack.apply("grow")
    assert stack.plan() == NOTHING
    assert clusters <= stack.addresses()
    assert PASSWORD not in "".join(stack.seen)


def actions(stack: Stack, plan: str) -> set[str]:
    """Every action of a saved plan. Its JSON holds sensitive values, so it is not kept as seen."""
    document = json.loads(stack.run("show", "-json", plan).stdout)
    del stack.seen[-2:]
    return {action for change in document["resource_changes"] for action in change["change"]["actions"]}
