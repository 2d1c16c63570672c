"""The pipelines that the tests run: of each system one that succeeds, one that fails, one that hangs, one that asks."""

from __future__ import annotations

import json
import urllib.request
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.ordered import MINE, OWNER
from triplane.clouds import aws, gcp
from triplane.sandbox.forges.devops import PIPELINES
from triplane.sandbox.runtime import Sandbox

SECRET = "hunter2-planted"
KINDS = ("good", "fails", "hangs", "asks")
SCRIPTS = {
    "good": ["echo building for $environment"],
    "fails": [
        f"echo 'using password: {SECRET}'",
        "echo 'error: deployment page exceeded its deadline'",
        "exit 3",
    ],
    "hangs": ["exec sleep 900"],
    "asks": ["echo released"],
}
REGION, BUCKET = "eu-west-1", "streaming-builds"
ROLE = "arn:aws:iam::000000000000:role/pipelines"
WORKFLOWS = {"good": "deploy.yml", "fails": "fails.yml", "hangs": "hangs.yml", "asks": "asks.yml"}
CLOUD_DEPLOY = "https://clouddeploy.googleapis.com/v1/projects/triplane-sandbox/locations/europe-west1"
PORTS = {"codebuild": "aws", "codepipeline": "aws", "cloud_deploy": "gcp-rest"}
RESULTS = {
    "codebuild": set(),
    "codepipeline": {"Deploy/Deploy"},
    "cloud_deploy": {"release"},
    "azure_pipelines": {"report"},
    "github_actions": {"report"},
    "gitlab": {"build-all", "deploy-all"},
}
"""What a good run leaves behind."""
APPROVALS = {
    "codepipeline": "Release/Approve",
    "cloud_deploy": "page-prod",
    "azure_pipelines": "deploy",
    "github_actions": "production",
    "gitlab": "deploy-all",
}


_made: set[Path] = set()


def make_all(sandbox: Sandbox) -> None:
    """What a customer's accounts would hold; the forges have theirs already."""
    if sandbox.home not in _made:
        _make_builds()
        _make_pipelines()
        _make_delivery()
        _made.add(sandbox.home)


def options(system: str, kind: str) -> dict[str, Any]:
    """Which pipeline of ``system`` behaves so."""
    return {
        "codebuild": {"project": f"page-{kind}", "region": REGION},
        "codepipeline": {"pipeline": f"page-{kind}", "region": REGION},
        "cloud_deploy": {
            "pipeline": f"page-{kind}",
            "region": "europe-west1",
            "source": f"gs://{BUCKET}/page-{{revision}}.tar.gz",
            "images": {"page": "europe-west1-docker.pkg.dev/triplane-sandbox/streaming/page@sha256:0"},
        },
        "azure_pipelines": {
            "organization": "acme",
            "project": "platform",
            "pipeline": kind if kind in PIPELINES.values() else "deploy",
            "token_parameter": "triplaneRun",
        },
        "github_actions": {
            "repository": "acme/shop",
            "workflow": WORKFLOWS[kind],
            "ref": "main",
            "token_input": "triplane",
        },
        "gitlab": {"project": f"acme/{'shop' if kind == 'good' else kind}", "ref": "main"},
    }[system]


def count(system: str, kind: str) -> int:
    """How many runs there were so far."""
    from triplane.pipelines.systems import connect

    where = options(system, kind)
    service: Any = connect(system, where)
    match system:
        case "codebuild":
            ids = service._client.list_builds_for_project(projectName=where["project"])["ids"]
            return len(ids)
        case "codepipeline":
            listed = service._client.list_pipeline_executions(pipelineName=where["pipeline"])
            return len(listed["pipelineExecutionSummaries"])
        case "cloud_deploy":
            return len(service._rollouts())
        case "azure_pipelines":
            return len(service._call("GET", "build/builds", definitions=service._number())["value"])
        case "github_actions":
            path = f"/repos/acme/shop/actions/workflows/{where['workflow']}/runs"
            return int(service._client.call("GET", path)["total_count"])
    return len(service._client.call("GET", f"{service._base}/pipelines?ref=main"))


def fault(sandbox: Sandbox, system: str, path: str, status: int, *, times: int = 1, **more: Any) -> None:
    """The next requests that match ``path`` are answered with ``status``."""
    body: dict[str, Any] = {"status": status, "times": times, **more}
    if PORTS.get(system) == "aws":
        body |= (
            {"action": path, "status": 400, "code": "ThrottlingException"}
            if status == 429
            else {"action": path}
        )
    else:
        body["path"] = path
        if system not in PORTS:
            body["headers"] = {"Retry-After": "0"}
    _sandbox(sandbox, system, "POST", body)


def no_faults(sandbox: Sandbox) -> None:
    for system in ("codebuild", "cloud_deploy", "gitlab"):
        _sandbox(sandbox, system, "DELETE", None)


def _sandbox(sandbox: Sandbox, system: str, verb: str, body: Mapping[str, Any] | None) -> None:
    url = f"http://127.0.0.1:{sandbox.port(PORTS.get(system, 'forges'))}{MINE}"
    request = urllib.request.Request(url, json.dumps({"owner": OWNER, **(body or {})}).encode(), method=verb)
    request.add_header("Content-Type", "application/json")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10):
        pass


def _make_builds() -> None:
    client = aws.client("codebuild", "aws_default", REGION)
    there = client.list_projects()["projects"]
    for kind in (kind for kind in KINDS if f"page-{kind}" not in there):
        spec = {"version": 0.2, "phases": {"build": {"commands": SCRIPTS[kind]}}}
        client.create_project(
            name=f"page-{kind}",
            source={"type": "NO_SOURCE", "buildspec": json.dumps(spec)},
            artifacts={"type": "NO_ARTIFACTS"},
            environment={
                "type": "LINUX_CONTAINER",
                "image": "aws/codebuild/amazonlinux-x86_64-standard:5.0",
                "computeType": "BUILD_GENERAL1_SMALL",
            },
            serviceRole=ROLE,
        )


def _make_pipelines() -> None:
    client = aws.client("codepipeline", "aws_default", REGION)
    if any(each["name"] == "page-asks" for each in client.list_pipelines()["pipelines"]):
        return
    trust = {
        "Principal": {"Service": "codepipeline.amazonaws.com"},
        "Action": "sts:AssumeRole",
        "Effect": "Allow",
    }
    aws.client("iam", "aws_default", REGION).create_role(
        RoleName="pipelines",
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
    )
    for kind in KINDS:
        client.create_pipeline(pipeline=pipeline(f"page-{kind}", f"page-{kind}", asks=kind == "asks"))


def pipeline(name: str, project: str, *, asks: bool = False) -> dict[str, Any]:
    """A pipeline with a source in S3 and a build; before that, one that asks waits for approval."""
    source = _action("Source", "Source", "S3", {"S3Bucket": BUCKET, "S3ObjectKey": "app.zip"})
    source["outputArtifacts"] = [{"name": "app"}]
    variable = {"name": "environment", "value": "#{variables.environment}", "type": "PLAINTEXT"}
    build = _action(
        "Deploy",
        "Build",
        "CodeBuild",
        {"ProjectName": project, "EnvironmentVariables": json.dumps([variable])},
    )
    build["inputArtifacts"] = [{"name": "app"}]
    gate = [{"name": "Release", "actions": [_action("Approve", "Approval", "Manual", {})]}] if asks else []
    return {
        "name": name,
        "roleArn": ROLE,
        "pipelineType": "V2",
        "artifactStore": {"type": "S3", "location": BUCKET},
        "variables": [{"name": "environment", "defaultValue": "none"}],
        "stages": [{"name": "Source", "actions": [source]}, *gate, {"name": "Deploy", "actions": [build]}],
    }


def _action(name: str, category: str, provider: str, configuration: Mapping[str, str]) -> dict[str, Any]:
    kind = {"category": category, "owner": "AWS", "provider": provider, "version": "1"}
    return {"name": name, "actionTypeId": kind, "configuration": dict(configuration)}


def _make_delivery() -> None:
    session = gcp.session("google_cloud_default")
    there = session.get(f"{CLOUD_DEPLOY}/deliveryPipelines/page-asks").ok
    if there:
        return
    cluster = {"cluster": "projects/triplane-sandbox/locations/europe-west1/clusters/streaming"}
    for target, asks in (("page-test", False), ("page-prod", True)):
        body = {"gke": cluster, "requireApproval": asks}
        operation = session.post(f"{CLOUD_DEPLOY}/targets?targetId={target}", json=body).json()
        _wait(session, operation)
    for kind in KINDS:
        order = ("page-prod",) if kind == "asks" else ("page-test", "page-prod")
        body = {"serialPipeline": {"stages": [{"targetId": target} for target in order]}}
        path = f"{CLOUD_DEPLOY}/deliveryPipelines?deliveryPipelineId=page-{kind}"
        _wait(session, session.post(path, json=body).json())


def _wait(session: Any, operation: Mapping[str, Any]) -> None:
    import time

    while not operation.get("done"):
        time.sleep(0.1)
        operation = session.get(f"https://clouddeploy.googleapis.com/v1/{operation['name']}").json()
    assert "error" not in operation, operation


def run_id() -> str:
    """The name of an Airflow run that there never was."""
    return f"manual__{uuid.uuid4()}"
