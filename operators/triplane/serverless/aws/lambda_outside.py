"""What belongs to a Lambda function or its alias and not to a version: concurrency, invokers, URL, tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triplane.serverless.aws import access as aws_access
from triplane.serverless.aws.lambda_settings import ALIAS, TAG_BUCKET, TAG_COMMIT, TAG_DIGEST, texts
from triplane.serverless.target import Desired, Log, Option


def read(client: Any, name: str, latest: Mapping[str, Any], *, alias: bool) -> dict[str, Option]:
    """These options as they are. ``latest`` is the answer of ``get_function``, ``alias`` whether there is one."""
    found: dict[str, Option] = {
        "reserved_concurrency": _reserved(latest),
        "bucket": (latest.get("Tags") or {}).get(TAG_BUCKET),
        "url": "none",
        "invokers": [],
    }
    if alias:
        access = aws_access.read(client, name, ALIAS)
        found |= {"url": access.url, "invokers": sorted(set(access.invokers.values()))}
    return found


def apply(
    client: Any,
    name: str,
    options: Mapping[str, Option],
    latest: Mapping[str, Any],
    log: Log,
    *,
    whole: bool = False,
) -> str:
    """Set these options, as far as they are given; returns the URL.

    With ``whole``, a concurrency that is not given is taken away.
    """
    there, wanted = _reserved(latest), options.get("reserved_concurrency")
    if wanted is not None and wanted != there:
        log(f"{name}: {wanted} concurrent executions are reserved for it")
        client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=wanted)
    elif whole and wanted is None and there is not None:
        client.delete_function_concurrency(FunctionName=name)
    if "invokers" in options:
        aws_access.allow(client, name, ALIAS, texts(options["invokers"]), log)
    if "url" in options:
        return aws_access.publish_url(client, name, ALIAS, str(options["url"]), log)
    return ""


def tags(desired: Desired) -> dict[str, str]:
    """The tags of a function."""
    bucket = desired.options.get("bucket")
    found = {TAG_COMMIT: desired.revision, TAG_DIGEST: desired.artifact, TAG_BUCKET: str(bucket or "")}
    return {key: value for key, value in found.items() if value}


def tag(client: Any, latest: Mapping[str, Any], wanted: Mapping[str, str]) -> None:
    """Add ``wanted`` to the tags; no call where they are there."""
    there = latest.get("Tags") or {}
    if any(there.get(key) != value for key, value in wanted.items()):
        client.tag_resource(Resource=_arn(latest), Tags=dict(wanted))


def tag_restored(client: Any, latest: Mapping[str, Any], artifact: str | None) -> None:
    """Say that ``artifact`` serves again; of which commit it was is not known."""
    if artifact and (latest.get("Tags") or {}).get(TAG_DIGEST) not in (None, artifact):
        client.untag_resource(Resource=_arn(latest), TagKeys=[TAG_COMMIT])
        tag(client, latest, {TAG_DIGEST: artifact})


def _reserved(latest: Mapping[str, Any]) -> int | None:
    return (latest.get("Concurrency") or {}).get("ReservedConcurrentExecutions")


def _arn(latest: Mapping[str, Any]) -> str:
    return ":".join(latest["Configuration"]["FunctionArn"].split(":")[:7])
