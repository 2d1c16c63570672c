"""Native pipelines in a spec: what is found wrong, and that what it says is what the systems take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from triplane.pipelines.systems import connect
from triplane.spec.load import load, problems_of
from triplane.spec.pipelines import (
    AzurePipeline,
    CodeBuildProject,
    CodePipelinePipeline,
    DeliveryPipeline,
    GitHubWorkflow,
    GitLabPipeline,
)

SPEC = """\
version: 1
name: shop
environments: {staging: {}}
secrets: {token: {variable: token}}
images: {api: {context: api}}
clouds:
  aws:
    region: eu-west-1
    registry: registry.example.com
    state: {bucket: state}
    stacks: {network: {path: network}}
    pipelines:
      release: PIPELINE
"""


def write(tmp_path: Path, pipeline: str) -> str:
    file = tmp_path / "platform.yaml"
    file.write_text(SPEC.replace("PIPELINE", pipeline))
    return str(file)


def test_a_pipeline_with_everything(tmp_path: Path) -> None:
    text = (
        "{kind: codepipeline, pipeline: 'shop-${environment}', inputs: {vpc: '${network.id}', n: 3}, images: {api: api},"
        " approves: [Release/Approve], risk: high, timeout: 2h, rollback: leave, revision_input: commit}"
    )
    platform = load(write(tmp_path, text), files=False)
    (release,) = platform.clouds.aws.pipelines.values()  # type: ignore[union-attr]
    assert release.options() == {"pipeline": "shop-${environment}"}
    assert platform.addresses() == ("aws/stack/network", "aws/pipeline/release")
    assert platform.images_of("aws") == ("api",)


@pytest.mark.parametrize(
    ("pipeline", "said"),
    [
        ("{kind: cloud_deploy, pipeline: p, source: 'gs://b/s'}", "cloud_deploy"),
        ("{kind: codebuild}", "project"),
        ("{kind: gitlab, project: a/b}", "ref"),
        ("{kind: codebuild, project: p, images: {api: ap}}", "there is no image 'ap'"),
        (
            "{kind: codebuild, project: p, inputs: {t: '${secret.token}'}}",
            "let it fetch its secrets by itself",
        ),
        ("{kind: codebuild, project: p, inputs: {t: '${netwrk.id}'}}", "aws has no stack 'netwrk'"),
        ("{kind: codebuild, project: p, risk: none}", "risk"),
    ],
)
def test_what_is_wrong(tmp_path: Path, pipeline: str, said: str) -> None:
    problems = [str(problem) for problem in problems_of(write(tmp_path, pipeline))]
    assert any(said in problem and problem.split(":")[1] == "13" for problem in problems), problems


ALL: list[Any] = [
    CodeBuildProject(kind="codebuild", project="p"),
    CodePipelinePipeline(kind="codepipeline", pipeline="p", source="s"),
    DeliveryPipeline(kind="cloud_deploy", pipeline="p", source="gs://b/s", config="c", target="t"),
    AzurePipeline(
        kind="azure_pipelines", organization="o", project="p", pipeline="1", ref="main", token_parameter="t",
        connection="tokens", url="https://dev.example.com",
    ),
    GitHubWorkflow(
        kind="github_actions", repository="a/b", workflow="w", ref="main", token_input="t", connection="tokens",
        url="https://ghe.example.com/api/v3",
    ),
    GitLabPipeline(kind="gitlab", project="a/b", ref="main", connection="tokens", url="https://gl.example.com/api/v4"),
]  # fmt: skip


@pytest.mark.parametrize("body", ALL, ids=lambda body: body.kind)
def test_what_a_spec_says_is_what_its_system_takes(body: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_TOKENS", '{"conn_type": "http", "password": "token-token"}')
    monkeypatch.setattr("triplane.clouds.aws.client", lambda *_, **__: object())
    monkeypatch.setattr("triplane.clouds.gcp.tokens", lambda conn_id: lambda: "token")
    place = {"codebuild": {"region": "r"}, "codepipeline": {"region": "r"}}.get(body.kind, {})
    place = {"region": "r", "project": "p"} if body.kind == "cloud_deploy" else place
    connect(body.kind, {**place, **body.options()})
