"""Streams, queues and topics by real Terraform: create, nothing to do, change in place, import, destroy."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_stacks import CHANGES, CONNECTIONS, NOTHING, Stack, actions
from triplane import clouds
from triplane.core.process import tool_env

pytestmark = [
    pytest.mark.campaign,
    pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not on PATH"),
]

HCL = """
terraform {
  required_providers {
    aws     = { source = "hashicorp/aws" }
    google  = { source = "hashicorp/google" }
    azurerm = { source = "hashicorp/azurerm" }
  }
}

provider "aws" {}
provider "google" {}
provider "azurerm" {
  features {}
}

variable "name" {}
variable "size" { type = number }
variable "tag" {}

resource "aws_kinesis_stream" "one" {
  name             = var.name
  shard_count      = var.size
  retention_period = 24 * var.size
  tags             = { tag = var.tag }
}

resource "aws_kinesis_stream" "on_demand" {
  name        = "${var.name}-d"
  shard_count = var.size == 1 ? null : 1

  stream_mode_details {
    stream_mode = var.size == 1 ? "ON_DEMAND" : "PROVISIONED"
  }
}

resource "aws_sqs_queue" "one" {
  name                      = var.name
  message_retention_seconds = 86400 * var.size
  tags                      = { tag = var.tag }
}

resource "aws_sqs_queue" "fifo" {
  name           = "${var.name}.fifo"
  fifo_queue     = true
  redrive_policy = jsonencode({ deadLetterTargetArn = aws_sqs_queue.dead.arn, maxReceiveCount = 2 + var.size })
}

resource "aws_sqs_queue" "dead" {
  name       = "${var.name}-dead.fifo"
  fifo_queue = true
}

resource "aws_iam_role" "one" {
  name = var.name
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "lambda.amazonaws.com" } }]
  })
}

resource "aws_iam_role_policy" "one" {
  name = "send"
  role = aws_iam_role.one.name
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sqs:Send${var.size == 1 ? "Message" : "*"}", Resource = aws_sqs_queue.one.arn }]
  })
}

resource "google_pubsub_topic" "one" {
  name                       = var.name
  message_retention_duration = "86400s"
}

resource "azurerm_eventhub_namespace" "one" {
  name                = var.name
  resource_group_name = "streaming"
  location            = "West Europe"
  sku                 = "Standard"
  capacity            = var.size
  tags                = { tag = var.tag }
}

resource "azurerm_eventhub" "one" {
  name              = "events"
  namespace_id      = azurerm_eventhub_namespace.one.id
  partition_count   = 2
  message_retention = var.size
}
"""
BY_ID = (
    "aws_sqs_queue",
    "aws_iam_role_policy",
    "google_pubsub_topic",
    "azurerm_eventhub_namespace",
    "azurerm_eventhub",
)


@pytest.fixture
def stack(tmp_path: Path, cloud_env: dict[str, str]) -> Iterator[Stack]:
    (tmp_path / "main.tf").write_text(HCL)
    env = tool_env("TF_CLI_CONFIG_FILE")
    for cloud, (conn_id, options) in CONNECTIONS.items():
        env |= clouds.terraform_credentials(cloud, conn_id, **options).env
    made = Stack(tmp_path, env | {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"})
    made.set(name=f"t{uuid.uuid4().hex[:8]}", size="1", tag="a")
    made.run("init", "-no-color", "-input=false")
    yield made
    made.apply("-destroy")
    assert made.addresses() == set()


def test_streams_queues_and_topics(stack: Stack) -> None:
    stack.apply()
    assert stack.plan() == NOTHING
    assert stack.drift() == {}

    stack.set(size="2", tag="b")
    assert stack.plan("-out=grow") == CHANGES
    assert actions(stack, "grow") == {"update", "no-op"}
    stack.apply("grow")
    assert stack.plan() == NOTHING

    name = stack.env["TF_VAR_name"]
    ids = {f"{kind}.one": shown(stack, f"{kind}.one") for kind in BY_ID} | {"aws_kinesis_stream.one": name}
    for address, identity in ids.items():
        stack.run("state", "rm", address)
        stack.run("import", "-no-color", "-input=false", address, identity)
    assert stack.plan() == NOTHING


def shown(stack: Stack, address: str) -> str:
    lines = stack.run("state", "show", "-no-color", address).stdout.splitlines()
    return next(line.split('"')[1] for line in lines if line.split()[:2] == ["id", "="])
