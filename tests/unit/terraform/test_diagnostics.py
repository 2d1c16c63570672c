"""Texts are Terraform's, its backends' and its providers' own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.terraform.test_cli import event, fake

from triplane.core.errors import TerminalError, ToolError
from triplane.terraform import cli
from triplane.terraform.diagnostics import CODE, CREDENTIALS, advice

IMDS = (
    "No valid credential sources found: Please see https://developer.hashicorp.com/terraform/language/backend/s3 for "
    "more information about providing credentials. Error: failed to refresh cached credentials, no EC2 IMDS role "
    "found, operation error ec2imds: GetMetadata, "
)
SIGNATURE = (
    "validating provider credentials: retrieving caller identity from STS: operation error STS: GetCallerIdentity, "
    "https response error StatusCode: 403, RequestID: 1, api error SignatureDoesNotMatch: The request signature we "
    "calculated does not match the signature you provided."
)
AZURE = (
    'retrieving Storage Account (Subscription: "0" Resource Group Name: "streaming" Storage Account Name: "s"): '
    "authorizing request: clientCredentialsToken: received HTTP status 401 with response: "
    '{"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."}'
)
REGISTRY = (
    "Failed to query available provider packages: Could not retrieve the list of available versions for provider "
    "hashicorp/nothing: "
)
CHECKSUMS = (
    "Failed to install provider: Error while installing hashicorp/null v3.2.1: the local package for "
    "registry.terraform.io/hashicorp/null 3.2.1 doesn't match any of the checksums previously recorded in the "
    "dependency lock file"
)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ('Unsupported argument: An argument named "inputs" is not expected here.', CODE),
        ('Unsupported attribute: This object has no argument, nested block, or attribute named "n".', CODE),
        ('Reference to undeclared resource: A managed resource "terraform_data" "y" has not been', CODE),
        ('Invalid for_each argument: The given "for_each" argument value is unsuitable', CODE),
        ("Invalid index: The given key does not identify an element in this collection value.", CODE),
        ("Cycle: terraform_data.y, terraform_data.x", CODE),
        ('Duplicate resource "terraform_data" configuration: A terraform_data resource named "x" was', CODE),
        ('Call to unknown function: There is no function named "nofn". Did you mean "join"?', CODE),
        ("Missing name for resource: All resource blocks must have 2 labels (type, name).", CODE),
        ("Incorrect value type: Invalid expression value: a number is required.", CODE),
        ("Unsupported backend type: There is no backend type named", CODE),
        ('No value for required variable: The root module input variable "owner" is not set', "`variables`"),
        (
            "Invalid value for variable: Must be over 2. This was checked by the validation rule",
            "`variables`",
        ),
        (IMDS + "access disabled to EC2 IMDS via client option", CREDENTIALS),
        (SIGNATURE, CREDENTIALS),
        (AZURE, CREDENTIALS),
        ("storage.NewClient() failed: dialing: google: could not find default credentials.", CREDENTIALS),
        (REGISTRY + "provider registry registry.terraform.io does not have a provider named", "`required_"),
        (CHECKSUMS, "terraform providers lock"),
    ],
)
def test_what_a_retry_would_only_hear_again(error: str, expected: str) -> None:
    assert expected in str(advice([error]))
    assert expected in str(advice(["something else", error]))
    assert advice([error, "reading S3 Bucket: https response error StatusCode: 503, SlowDown"]) is None


@pytest.mark.parametrize(
    "error",
    [
        "creating EC2 VPC: operation error EC2: CreateVpc, https response error StatusCode: 400, api error "
        "Throttling: Rate exceeded",
        "creating EC2 VPC: api error RequestLimitExceeded: Request limit exceeded.",
        "googleapi: Error 429: Quota exceeded for quota metric 'Queries', rateLimitExceeded",
        "googleapi: Error 503: Backend Error, backendError",
        "googleapi: Error 401: Request had invalid authentication credentials., authError",
        "googleapi: Error 403: t@p.iam.gserviceaccount.com does not have storage.objects.get access., forbidden",
        'Get "https://management.azure.com/x": dial tcp 10.0.0.1:443: connect: connection refused',
        "read tcp 10.0.0.2:51234->10.0.0.1:443: read: connection reset by peer",
        "Invalid provider configuration: dial tcp: lookup sts.amazonaws.com: i/o timeout",
        'Failed to get existing workspaces: S3 bucket "b" does not exist. If the S3 bucket was created within the '
        "last minute, please wait for a minute or two and try again.",
        "operation error S3: GetObject, api error ExpiredToken: The provided token has expired.",
        IMDS + "request canceled, context deadline exceeded",
        REGISTRY
        + "could not connect to registry.terraform.io: dial tcp: lookup registry.terraform.io: no such host",
        "Error acquiring the state lock: Error message: writing failed: googleapi: Error 412",
        "Request cancelled: The plugin.(*GRPCProvider).PlanResourceChange request was cancelled.",
        "Plugin did not respond: The plugin encountered an error, and failed to respond",
        "Something that nobody here has heard of",
    ],
)
def test_what_may_be_retried(error: str) -> None:
    assert advice([error]) is None


def test_a_failed_command_says_what_to_do(tmp_path: Path) -> None:
    said = {"severity": "error", "summary": "Unsupported argument", "detail": "Not expected here."}
    failing = f"cat <<'E'\n{event('diagnostic', diagnostic=said)}\nE\nexit 1"
    with pytest.raises(
        cli.RejectedError, match=rf"Not expected here\. A retry cannot help: {CODE}$"
    ) as failed:
        fake(tmp_path, failing).plan(tmp_path / "p")
    assert isinstance(failed.value, ToolError)
    with pytest.raises(TerminalError):
        fake(tmp_path, failing).apply(tmp_path / "p")
    with pytest.raises(cli.ApplyError) as begun:
        fake(tmp_path, f"echo '{event('apply_start')}'\n{failing}").apply(tmp_path / "p")
    assert not isinstance(begun.value, TerminalError), "what was begun has to be recorded"


def test_a_plan_that_nobody_can_review_is_not_read(tmp_path: Path) -> None:
    large = json.dumps({"format_version": "1.2", "x": "y" * 3_000_000})
    (tmp_path / "plan.json").write_text(large)
    terraform = fake(tmp_path, f"cat {tmp_path}/plan.json")
    assert terraform.show(tmp_path / "p")["format_version"] == "1.2"
    with pytest.raises(TerminalError, match=r"larger than 3 MB of JSON.*split the stack.*`max_plan_bytes`"):
        replace(terraform, max_plan_bytes=3_000_000).show(tmp_path / "p")
