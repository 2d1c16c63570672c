"""How the secrets of a spec reach what needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from triplane.factories.context import Build
from triplane.factories.secrets import secret_components, used_secrets
from triplane.factories.values import function_environment, secret_reference
from triplane.serverless.aws.fargate_task import reference, value_from
from triplane.spec.document import Document
from triplane.spec.load import load, problems_of
from triplane.spec.secret_checks import problems

SPEC = """
version: 1
name: shop
environments: {staging: {}}
secrets:
  plain: {variable: shop_plain}
  sm: {secrets_manager: shop/db, part: password}
  whole: {secrets_manager: shop/whole}
  open: {secrets_manager: shop/open, deliver: value}
  param: {ssm: /shop/param}
  google: {secret_manager: shop-key, version: "7"}
  latest: {secret_manager: shop-key}
  followed: {secret_manager: shop-key, track: false}
  vault: {key_vault: shop-vault/token}
clouds:
  aws:
    region: eu-west-1
    functions:
      f: {target: lambda, path: f, handler: a.b, runtime: python3.13, role: r, environment: {X: "%s"}}
  gcp:
    project: p
    region: r
    functions:
      g: {target: cloud_functions, path: g, runtime: python312, entry_point: m, environment: {X: "%s"}}
  azure: {resource_group: rg, location: l}
"""


def write(tmp_path: Path, aws: str = "a", gcp: str = "b") -> Path:
    path = tmp_path / "platform.yaml"
    path.write_text(SPEC % (aws, gcp))
    return path


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("plain", "${variable.shop_plain}"),
        ("sm", "${secretsmanager://aws_default@eu-west-1/shop/db?part=password}"),
        ("param", "${ssm://aws_default@eu-west-1//shop/param}"),
        ("google", "${secretmanager://google_cloud_default@p/shop-key?version=7}"),
        ("vault", "${keyvault://azure_default@shop-vault/token}"),
    ],
)
def test_operators_get_a_reference(tmp_path: Path, name: str, reference: str) -> None:
    assert secret_reference(load(write(tmp_path), files=False), name) == reference


@pytest.mark.parametrize(
    ("name", "delivered"),
    [
        ("plain", "${variable.shop_plain}"),
        ("open", "${secretsmanager://aws_default@eu-west-1/shop/open}"),
        ("whole", "secretsmanager://shop/whole/${secretsmanager://aws_default@eu-west-1/shop/whole#version}"),
        ("param", "ssm://shop/param"),
        (
            "google",
            "secretmanager://shop-key/${secretmanager://google_cloud_default@p/shop-key?version=7#version}",
        ),
        ("latest", "secretmanager://shop-key/${secretmanager://google_cloud_default@p/shop-key#version}"),
        ("followed", "secretmanager://shop-key/latest"),
        ("vault", "keyvault://shop-vault/token/${keyvault://azure_default@shop-vault/token#version}"),
    ],
)
def test_functions_get_the_name_of_what_their_cloud_can_read(
    tmp_path: Path, name: str, delivered: str
) -> None:
    platform = load(write(tmp_path), files=False)
    found = function_environment(platform, {"X": f"${{secret.{name}}}"})
    context: Any = {"params": {"environment": "staging"}}
    assert found.resolve(context) == {"X": delivered}


@pytest.mark.parametrize(
    ("aws", "gcp", "problem"),
    [
        ("${secret.plain}", "${secret.google}", ""),
        ("${secret.open}", "x-${secret.open}", ""),
        ("${secret.sm}", "b", "lambda cannot read secrets_manager by itself; say `deliver: value`"),
        ("a", "${secret.sm}", "cloud_functions cannot read secrets_manager by itself"),
        ("a", "key=${secret.google}", "a secret by reference is the whole value, not a piece of a text"),
    ],
)
def test_what_a_cloud_cannot_read_is_an_error(tmp_path: Path, aws: str, gcp: str, problem: str) -> None:
    found = [
        str(item) for item in problems_of(write(tmp_path, aws, gcp)) if "does not exist" not in str(item)
    ]
    assert [problem in text for text in found] == ([True] if problem else [])


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        (
            '{ssm: /shop/param, version: "3"}',
            "fargate reads the latest version of a parameter; say `deliver: value`",
        ),
        ("{secrets_manager: 'arn:aws:secretsmanager:eu-west-1:1:secret:a'}", "is given a secret by its name"),
        ("{ssm: /shop/param}", ""),
    ],
)
def test_what_fargate_can_read(secret: str, problem: str) -> None:
    text = f"secrets: {{a: {secret}}}\nclouds: {{aws: {{functions: {{f: {{target: fargate, environment: {{X: '${{secret.a}}'}}}}}}}}}}"
    found = [str(item) for item in problems(Document("platform.yaml", text))]
    assert [problem in item for item in found] == ([True] if problem else [])


def test_a_reference_to_a_parameter_is_one_that_fargate_takes() -> None:
    for name in ("/shop/param", "param", "/param"):
        assert value_from(reference(name), lambda _: "") == name


def test_a_store_needs_its_cloud(tmp_path: Path) -> None:
    path = tmp_path / "platform.yaml"
    path.write_text(
        "version: 1\nname: x\nenvironments: {dev: {}}\nsecrets:\n  a: {key_vault: v/a}\nclouds: {aws: {region: r}}\n"
    )
    (problem,) = problems_of(path)
    assert str(problem) == (
        f"{path}:5:7: key_vault is read with the connection of cloud azure, which this platform does not use"
    )


def test_what_a_new_version_reaches_by_a_deployment_is_watched(tmp_path: Path) -> None:
    """Not what is pinned, not what is followed, and not what Airflow keeps."""
    values = ", ".join(
        f"{name}: '${{secret.{name}}}'" for name in ("plain", "sm", "google", "followed", "vault")
    )
    path = write(tmp_path, gcp="${secret.latest}")
    text = path.read_text().replace(
        "    project: p",
        f"    project: p\n    cluster: c\n    charts: {{api: {{path: c, values: {{{values}}}}}}}",
    )
    path.write_text(text.replace("    region: eu-west-1", FARGATE))
    build = build_of(path)
    assert used_secrets(build, "gcp") == {
        "gcp/chart/api": {
            "sm": "secretsmanager://aws_default@eu-west-1/shop/db",
            "vault": "keyvault://azure_default@shop-vault/token",
        },
        "gcp/function/g": {"latest": "secretmanager://google_cloud_default@p/shop-key"},
    }
    assert used_secrets(build, "aws") == {
        "aws/stack/db": {
            "param": "ssm://aws_default@eu-west-1//shop/param",
            "sm": "secretsmanager://aws_default@eu-west-1/shop/db",
        }
    }
    database, parameter = secret_components(build, "aws")
    assert (database["address"], database["users"]) == ("aws/secret/sm", ["aws/stack/db"])
    assert parameter["address"] == "aws/secret/param"


FARGATE = """\
    region: eu-west-1
    state: {bucket: b}
    stacks:
      db: {path: infra, variables: {host: "${secret.param}"}, secrets: {password: sm}}"""


def build_of(path: Path) -> Build:
    return Build(load(path, files=False), path, "sha256:0")
