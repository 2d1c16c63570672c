"""The AWS of the sandbox: moto in an environment of its own, account 000000000000, region eu-west-1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import triplane
from triplane.sandbox.ca import write_private
from triplane.sandbox.runtime import listens
from triplane.sandbox.service import Context, Route, Service

ACCOUNT = "000000000000"
REGION = "eu-west-1"
ACCESS_KEY = "AKIATRIPLANESANDBOX0"
STATE_BUCKET = "streaming-tfstate"
LOCK_TABLE = "streaming-tflock"
BUILD_BUCKET = "streaming-builds"
BUILD_PROJECT = "streaming-images"
PIPELINE = "streaming-release"
"""A pipeline with a source in the bucket and one build."""


def instance_keys(home: Path) -> Path:
    """Where the keys are that EC2 Instance Connect lets in: a file for each instance, as sshd takes it."""
    return home / "aws" / "keys"


class AwsPart:
    """moto server with checked signatures and parameters."""

    name = "aws"

    def prepare(self, ctx: Context) -> None:
        directory = ctx.home / "aws"
        python_path = directory / "python"
        python_path.mkdir(parents=True)
        # The emulator's Python must see this package and nothing else of this environment.
        (python_path / "triplane").symlink_to(Path(triplane.__file__).parent)
        settings = {
            "port": ctx.port("aws"),
            "access_key": {"id": ACCESS_KEY, "secret": ctx.secret("aws-access-key")},
            "token_secret": ctx.secret("ecr"),
            "builds": str(ctx.home / "builds" / "aws"),
            "keys": str(instance_keys(ctx.home)),
            "proxy": ctx.proxy_url,
            "ca": str(ctx.ca_file),
            "eks_endpoint": str(ctx.home / "kubernetes" / "aws" / "endpoint.json"),
        }
        write_private(directory / "settings.json", json.dumps(settings).encode())

    def services(self, ctx: Context) -> list[Service]:
        directory = ctx.home / "aws"
        python = ctx.cache / "venvs" / "moto" / "bin" / "python"
        server = Service(
            name="aws",
            argv=(str(python), "-m", "triplane.sandbox.aws_server", str(directory / "settings.json")),
            env={
                "PYTHONPATH": str(directory / "python"),
                "PYTHONDONTWRITEBYTECODE": "1",
                "MOTO_ACCOUNT_ID": ACCOUNT,
                "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
                "AWS_ACCESS_KEY_ID": ACCESS_KEY,
                "AWS_SECRET_ACCESS_KEY": "unused",
                "AWS_DEFAULT_REGION": REGION,
            },
            ready=lambda: listens(ctx.port("aws")),
        )
        return [server]

    def routes(self, ctx: Context) -> list[Route]:
        return [Route(host="*.amazonaws.com", port=ctx.port("aws"))]

    def environ(self, ctx: Context) -> dict[str, str]:
        connection = {
            "conn_type": "aws",
            "login": ACCESS_KEY,
            "password": ctx.secret("aws-access-key"),
            "extra": {"region_name": REGION},
        }
        return {"AIRFLOW_CONN_AWS_DEFAULT": json.dumps(connection)}

    def seed(self, ctx: Context) -> None:
        s3 = client(ctx, "s3")
        s3.create_bucket(Bucket=STATE_BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_bucket_versioning(Bucket=STATE_BUCKET, VersioningConfiguration={"Status": "Enabled"})
        client(ctx, "dynamodb").create_table(
            TableName=LOCK_TABLE,
            AttributeDefinitions=[{"AttributeName": "LockID", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "LockID", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
        )
        s3.create_bucket(Bucket=BUILD_BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        _seed_pipeline(ctx)
        client(ctx, "codebuild").create_project(
            name=BUILD_PROJECT,
            source={"type": "S3", "location": f"{BUILD_BUCKET}/none.zip"},
            artifacts={"type": "NO_ARTIFACTS"},
            environment={
                "type": "LINUX_CONTAINER",
                "image": "aws/codebuild/amazonlinux-x86_64-standard:5.0",
                "computeType": "BUILD_GENERAL1_SMALL",
            },
            serviceRole=f"arn:aws:iam::{ACCOUNT}:role/streaming-images",
        )


def _seed_pipeline(ctx: Context) -> None:
    role = f"arn:aws:iam::{ACCOUNT}:role/{PIPELINE}"
    trust = {
        "Effect": "Allow",
        "Principal": {"Service": "codepipeline.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    client(ctx, "iam").create_role(RoleName=PIPELINE, AssumeRolePolicyDocument=document)
    client(ctx, "s3").put_object(Bucket=BUILD_BUCKET, Key="release.zip", Body=b"")
    commands = ['test -n "$environment"', 'echo "Releasing $image to $environment"']
    client(ctx, "codebuild").create_project(
        name=PIPELINE,
        source={
            "type": "CODEPIPELINE",
            "buildspec": json.dumps({"version": 0.2, "phases": {"build": {"commands": commands}}}),
        },
        artifacts={"type": "NO_ARTIFACTS"},
        environment={
            "type": "LINUX_CONTAINER",
            "image": "aws/codebuild/amazonlinux-x86_64-standard:5.0",
            "computeType": "BUILD_GENERAL1_SMALL",
        },
        serviceRole=role,
    )
    names = ("environment", "image")
    variables = [{"name": name, "value": f"#{{variables.{name}}}", "type": "PLAINTEXT"} for name in names]
    source = {"S3Bucket": BUILD_BUCKET, "S3ObjectKey": "release.zip"}
    build = {"ProjectName": PIPELINE, "EnvironmentVariables": json.dumps(variables)}
    app = [{"name": "app"}]
    client(ctx, "codepipeline").create_pipeline(
        pipeline={
            "name": PIPELINE,
            "roleArn": role,
            "pipelineType": "V2",
            "artifactStore": {"type": "S3", "location": BUILD_BUCKET},
            "variables": [{"name": name, "defaultValue": "none"} for name in names],
            "stages": [
                {"name": "Source", "actions": [{**_action("Source", "S3", source), "outputArtifacts": app}]},
                {
                    "name": "Release",
                    "actions": [{**_action("Build", "CodeBuild", build), "inputArtifacts": app}],
                },
            ],
        }
    )


def _action(category: str, provider: str, configuration: dict[str, str]) -> dict[str, Any]:
    kind = {"category": category, "owner": "AWS", "provider": provider, "version": "1"}
    return {"name": category, "actionTypeId": kind, "configuration": configuration}


def client(ctx: Context, service: str) -> Any:
    """A boto3 client that talks to the emulator directly, whatever proxies the environment names."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        service,
        region_name=REGION,
        endpoint_url=f"http://127.0.0.1:{ctx.port('aws')}",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=ctx.secret("aws-access-key"),
        config=Config(proxies={}, s3={"addressing_style": "path"}),
    )


PART = AwsPart()
