"""AWS Lambda: code and configuration become a published version, and the alias ``live`` says which one serves.

Versions are immutable, so what served before stays there untouched, and going back is one move of the alias.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from triplane.core.errors import InputError, StaleError, TerminalError
from triplane.serverless import aws_access, aws_lambda_settings, package
from triplane.serverless.aws_errors import code_of, errors, found
from triplane.serverless.aws_lambda_settings import ALIAS, TAG_BUCKET, TAG_COMMIT, TAG_DIGEST, Stamp, stamp_of
from triplane.serverless.target import (
    Answer,
    DeployFailed,
    Desired,
    Kind,
    Log,
    Observed,
    Option,
    Progress,
    Ready,
    Smoke,
    Waiting,
)

UPLOAD_LIMIT: Final = 50 * 1024 * 1024
UNZIPPED_LIMIT: Final = 250 * 1024 * 1024
ROLE_SECONDS: Final = 30.0
LOG_LINES: Final = 50
STREAMS: Final = 20


class AwsLambda:
    """Functions of one account and region; ``client`` is boto3's of ``lambda``, ``logs`` and ``s3`` theirs.

    Options: ``role`` (needed, ARN), ``handler`` and ``runtime`` (needed by a package), ``memory`` and
    ``ephemeral_storage`` in MiB, ``timeout`` in seconds, ``architecture`` (``x86_64``, ``arm64``), ``layers`` (version
    ARNs), ``subnets`` with ``security_groups`` (ids), ``reserved_concurrency``, ``url`` (``none``, ``aws_iam``,
    ``public``), ``invokers`` (see :mod:`triplane.serverless.aws_access`), and ``bucket`` for packages above 50 MiB.

    The value of an environment variable may be the ARN of a secret, which the function then reads itself.

    The last four options belong to the function or its alias, not to a version: they change when a new version is
    ready, before it has traffic. :meth:`restore` puts them back.
    """

    options = aws_lambda_settings.OPTIONS
    runs: frozenset[Kind] = frozenset({"package", "image"})
    splits = True

    def __init__(
        self,
        client: Any,
        *,
        logs: Any = None,
        s3: Any = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._logs = logs
        self._s3 = s3
        self._clock = clock
        self._role_since: dict[str, float] = {}
        self._foreign: set[str] = set()

    def observe(self, name: str) -> Observed | None:
        """What ``live`` leads to (``3=90,4=10`` where its traffic is split, ``3`` the larger part or the older one).

        A function without that alias is there, but serves no version: ``""``.
        """
        with errors(f"reading {name}"):
            latest = self._function(name)
            if latest is None:
                return None
            outside: dict[str, Option] = {
                "reserved_concurrency": (latest.get("Concurrency") or {}).get("ReservedConcurrentExecutions"),
                "bucket": (latest.get("Tags") or {}).get(TAG_BUCKET),
            }
            alias = self._alias(name)
            if alias is None:
                outside |= {"url": "none", "invokers": ()}
                return aws_lambda_settings.observed("", latest, outside)
            access = aws_access.read(self._client, name, ALIAS)
            outside |= {"url": access.url, "invokers": tuple(sorted(set(access.invokers.values())))}
            live = self._client.get_function(FunctionName=name, Qualifier=alias["FunctionVersion"])
            return aws_lambda_settings.observed(aws_lambda_settings.version_of(alias), live, outside)

    def prepare(self, desired: Desired, previous: Observed | None, log: Log) -> Progress:
        """Brings ``$LATEST`` up to date and publishes it. Where no version serves yet, and it shall have a URL or
        invokers, ``live`` is made here, since these belong to it.
        """
        settings = aws_lambda_settings.settings(desired)
        self._check(desired)
        name, stamp = desired.name, Stamp(desired.config, desired.attempt)
        with errors(f"deploying {name}"):
            latest = self._function(name)
            if latest is None:
                if previous is not None:
                    raise StaleError(f"{name}: somebody deleted it meanwhile; plan again")
                return self._create(desired, settings, stamp, log)
            if previous is None and stamp_of(latest["Configuration"]) != stamp:
                self._foreign.add(name)
                raise StaleError(f"{name}: somebody else created it meanwhile; plan again")
            version = self._published(name, stamp)
            if version is None:
                waiting = self._bring_up(desired, latest, settings, stamp, log)
                if waiting is not None:
                    return waiting
                version = self._publish(desired, latest["Configuration"], stamp, log)
            return self._settle(desired, version, latest, log)

    def shift(self, name: str, version: str, percent: int, previous: Observed | None, log: Log) -> Progress:
        """Weighs ``live``; with 100 percent it leads to ``version`` alone."""
        before = previous.version if previous else ""
        if percent < 100 and not before:
            raise InputError(f"{name}: nothing serves that could have the rest of the traffic")
        wanted = aws_lambda_settings.shares(version, percent, before)
        with errors(f"moving {ALIAS} of {name}"):
            alias = self._alias(name)
            ours = {before, *(aws_lambda_settings.shares(version, each, before) for each in range(1, 101))}
            if alias is not None and (there := aws_lambda_settings.version_of(alias)) not in ours:
                raise StaleError(f"{name}: somebody moved {ALIAS} to {there} meanwhile; plan again")
            self._move(name, wanted, alias, log)
        return Ready(version=version, details={"alias": ALIAS, "traffic": wanted})

    def verify(self, desired: Desired, version: str) -> None:
        """Reads back the alias, and the code, the settings and the stamp of the version it leads to."""
        observed = self.observe(desired.name)
        if observed is None or "=" in observed.version:
            raise DeployFailed(
                f"{desired.name}: {ALIAS} is gone, or sends part of its traffic to another version"
            )
        if observed.version != version:
            raise DeployFailed(
                f"{desired.name}: version {observed.version or '(none)'} serves, not {version}"
            )
        if observed.artifact != desired.artifact:
            raise DeployFailed(f"{desired.name}: {observed.artifact} serves, not {desired.artifact}")
        if observed.config != desired.config:
            raise DeployFailed(f"{desired.name}: version {version} has another configuration")

    def restore(self, name: str, previous: Observed | None, log: Log) -> Progress:
        """Moves ``live`` back to ``previous``, with its URL, invokers and concurrency.

        ``$LATEST``, which serves nobody, gets the configuration of that version again, and its image. A package
        stays there until the next deployment sends its own. The new version stays, without traffic.
        """
        if previous is None:
            return self._remove(name, log)
        with errors(f"restoring {name}"):
            latest = self._function(name)
            if latest is None:
                raise DeployFailed(f"{name}: it is gone, so {previous.version or 'it'} cannot be put back")
            alias = self._alias(name)
            if not previous.version:
                if alias is not None:
                    aws_access.publish_url(self._client, name, ALIAS, "none", log)
                    found(self._client.delete_alias, FunctionName=name, Name=ALIAS)
                return Ready(version="")
            self._move(name, previous.version, alias, log)
            self._outside(name, previous.options, latest, log, whole=True)
        try:
            with errors(f"putting back $LATEST of {name}"):
                waiting = self._put_back_latest(name, previous, latest, log)
        except TerminalError as error:
            log(f"{error} ({previous.version} serves nevertheless)")
            waiting = None
        return waiting or Ready(version=previous.version, details={"alias": ALIAS})

    def invoke(self, name: str, version: str, smoke: Smoke) -> Answer:
        """Calls the version with the payload. An error in the function is 500, a version that cannot run 502."""
        from botocore.exceptions import ClientError, ReadTimeoutError

        payload = b"" if smoke.payload is None else json.dumps(smoke.payload).encode()
        with errors(f"asking {name}"):
            try:
                answer = self._client.invoke(
                    FunctionName=name, Qualifier=version, LogType="Tail", Payload=payload
                )
            except ReadTimeoutError:
                return Answer(status=0)
            except ClientError as error:
                if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 502:
                    return Answer(status=502, log=(str(error),))
                raise
            body = answer["Payload"].read().decode(errors="replace")
        log = base64.b64decode(answer.get("LogResult") or "").decode(errors="replace")
        return Answer(status=500 if answer.get("FunctionError") else 200, body=body, log=log.splitlines())

    def tail(self, name: str, version: str) -> Sequence[str]:
        """The last lines in CloudWatch Logs; nothing without a ``logs`` client."""
        if self._logs is None or not version:
            return ()
        from botocore.exceptions import BotoCoreError, ClientError

        group = f"/aws/lambda/{name}"
        try:
            streams = self._logs.describe_log_streams(
                logGroupName=group, orderBy="LastEventTime", descending=True, limit=STREAMS
            )["logStreams"]
            for stream in streams:
                if f"[{version}]" in stream["logStreamName"]:
                    events = self._logs.get_log_events(
                        logGroupName=group, logStreamName=stream["logStreamName"], limit=LOG_LINES
                    )["events"]
                    return tuple(event["message"].rstrip("\n") for event in events)
        except (BotoCoreError, ClientError):
            pass
        return ()

    def delete(self, name: str) -> Progress:
        """Deletes the function, its versions and aliases. Its log group stays."""
        with errors(f"deleting {name}"):
            found(self._client.delete_function, FunctionName=name)
            if self._function(name) is None:
                return Ready(version="")
        return Waiting(why=f"{name} is being deleted", seconds=2.0)

    def _remove(self, name: str, log: Log) -> Progress:
        """Delete what a deployment made, and nothing that somebody else did."""
        with errors(f"removing {name}"):
            latest = self._function(name)
        if latest is None:
            return Ready(version="")
        if name in self._foreign or stamp_of(latest["Configuration"]) is None:
            log(f"{name}: somebody else made this function, so it stays")
            there = self.observe(name)
            return Ready(version=there.version if there else "")
        log(f"{name}: removing the function that this deployment made")
        return self.delete(name)

    def _check(self, desired: Desired) -> None:
        """:raises InputError: the package is not what the artifact says, or too large"""
        data = desired.package
        if data is None:
            return
        package.check(data, desired.artifact, desired.name)
        package.check_unzipped(data, UNZIPPED_LIMIT, desired.name)
        if len(data) > UPLOAD_LIMIT and not desired.options.get("bucket"):
            raise InputError(
                f"{desired.name}: the package has {len(data) / 2**20:.0f} MiB, and Lambda takes "
                f"{UPLOAD_LIMIT / 2**20:.0f} directly; give the option `bucket`, or leave files out with "
                f".deployignore ({package.biggest(data)})"
            )

    def _create(self, desired: Desired, settings: Mapping[str, Any], stamp: Stamp, log: Log) -> Progress:
        name, options = desired.name, desired.known_options()
        log(f"{name}: creating the function")
        extra = {"Architectures": [options["architecture"]]} if "architecture" in options else {}
        extra["PackageType"] = "Image" if desired.package is None else "Zip"  # type: ignore[assignment]
        return self._with_role(
            desired,
            lambda: self._client.create_function(
                FunctionName=name, Code=self._code(desired), Publish=False, Description=str(stamp),
                Tags=_tags(desired), **extra, **settings,
            ),
            f"{name} is being created",
        )  # fmt: skip

    def _bring_up(
        self,
        desired: Desired,
        latest: Mapping[str, Any],
        settings: Mapping[str, Any],
        stamp: Stamp,
        log: Log,
    ) -> Waiting | None:
        """The next thing that ``$LATEST`` needs, None when it is as desired."""
        name, there = desired.name, latest["Configuration"]
        if work := aws_lambda_settings.at_work(there):
            return Waiting(why=f"{name}: {work}", seconds=2.0)
        ours = stamp_of(there) == stamp
        failed = aws_lambda_settings.failure(there)
        if ours and failed:
            raise DeployFailed(f"{name}: it did not become ready: {failed}")
        kind = "Image" if desired.package is None else "Zip"
        if there.get("PackageType", "Zip") != kind:
            raise InputError(
                f"{name}: Lambda cannot turn a function of type {there.get('PackageType', 'Zip')} into {kind}; "
                "give the new one another name"
            )
        differing = aws_lambda_settings.differing(settings, there)
        if ours and differing:
            raise StaleError(f"{name}: somebody else changed {', '.join(differing)} meanwhile; plan again")
        which = {"FunctionName": name, "RevisionId": there["RevisionId"]} if "RevisionId" in there else {
            "FunctionName": name
        }  # fmt: skip
        if not ours:
            log(f"{name}: updating the configuration")
            changes = settings if failed else {key: settings[key] for key in differing}
            return self._with_role(
                desired,
                lambda: self._client.update_function_configuration(
                    **which, Description=str(stamp), **changes
                ),
                f"{name} is being updated",
            )
        architecture = desired.known_options().get("architecture")
        wanted = [architecture] if architecture else there.get("Architectures", [])
        if aws_lambda_settings.artifact_of(latest) != desired.artifact or wanted != there.get(
            "Architectures", []
        ):
            log(f"{name}: sending the code")
            extra = {"Architectures": wanted} if wanted else {}
            self._client.update_function_code(**which, **self._code(desired), **extra, Publish=False)
            return Waiting(why=f"{name} gets its code", seconds=1.0)
        return None

    def _publish(self, desired: Desired, there: Mapping[str, Any], stamp: Stamp, log: Log) -> str:
        revision = {"RevisionId": there["RevisionId"]} if "RevisionId" in there else {}
        published = self._client.publish_version(
            FunctionName=desired.name, CodeSha256=there["CodeSha256"], Description=str(stamp), **revision
        )
        version = str(published["Version"])
        log(f"{desired.name}: published version {version}")
        return version

    def _published(self, name: str, stamp: Stamp) -> str | None:
        """The version that this attempt has published."""
        pages = self._client.get_paginator("list_versions_by_function").paginate(FunctionName=name)
        for page in pages:
            for version in page["Versions"]:
                if version["Version"] != "$LATEST" and stamp_of(version) == stamp:
                    return str(version["Version"])
        return None

    def _settle(self, desired: Desired, version: str, latest: Mapping[str, Any], log: Log) -> Progress:
        """Wait for the version, then set what is not part of it."""
        name = desired.name
        there = self._client.get_function_configuration(FunctionName=name, Qualifier=version)
        if failed := aws_lambda_settings.failure(there):
            raise DeployFailed(f"{name}: version {version} did not become ready: {failed}")
        if work := aws_lambda_settings.at_work(there):
            return Waiting(why=f"version {version} of {name}: {work}", seconds=2.0)
        self._tag(latest, _tags(desired))
        options = desired.known_options()
        if {"url", "invokers"} & set(options) and self._alias(name) is None:
            self._move(name, version, None, log)
        address = self._outside(name, options, latest, log)
        return Ready(version=version, details={"alias": ALIAS, **({"url": address} if address else {})})

    def _outside(
        self,
        name: str,
        options: Mapping[str, Option],
        latest: Mapping[str, Any],
        log: Log,
        *,
        whole: bool = False,
    ) -> str:
        """Concurrency, invokers and URL, as far as they are given; returns the URL.

        With ``whole``, a concurrency that is not given is taken away.
        """
        there = (latest.get("Concurrency") or {}).get("ReservedConcurrentExecutions")
        wanted = options.get("reserved_concurrency")
        if wanted is not None and wanted != there:
            log(f"{name}: {wanted} concurrent executions are reserved for it")
            self._client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=wanted)
        elif whole and wanted is None and there is not None:
            self._client.delete_function_concurrency(FunctionName=name)
        if "invokers" in options:
            invokers = aws_lambda_settings.texts(options["invokers"])
            aws_access.allow(self._client, name, ALIAS, invokers, log)
        if "url" in options:
            return aws_access.publish_url(self._client, name, ALIAS, str(options["url"]), log)
        return ""

    def _move(self, name: str, wanted: str, alias: Mapping[str, Any] | None, log: Log) -> None:
        """Let ``live`` lead to ``wanted``; no call where it does."""
        which = {"FunctionName": name, "Name": ALIAS, **aws_lambda_settings.routing(wanted)}
        if alias is None:
            if not which["RoutingConfig"]["AdditionalVersionWeights"]:
                del which["RoutingConfig"]
            self._client.create_alias(**which)
        elif aws_lambda_settings.version_of(alias) == wanted:
            return
        else:
            revision = {"RevisionId": alias["RevisionId"]} if "RevisionId" in alias else {}
            self._client.update_alias(**which, **revision)
        log(f"{name}: {ALIAS} leads to {wanted}")

    def _put_back_latest(
        self, name: str, previous: Observed, latest: Mapping[str, Any], log: Log
    ) -> Waiting | None:
        there, version = latest["Configuration"], previous.version.partition(",")[0].partition("=")[0]
        before = self._client.get_function(FunctionName=name, Qualifier=version)
        if work := aws_lambda_settings.at_work(there):
            return Waiting(why=f"{name}: {work}", seconds=2.0)
        wanted = aws_lambda_settings.again(before["Configuration"])
        if aws_lambda_settings.differing(wanted, there):
            log(f"{name}: $LATEST gets the configuration of version {version} again")
            self._client.update_function_configuration(FunctionName=name, **wanted)
            return Waiting(why=f"{name} is being updated", seconds=1.0)
        image = aws_lambda_settings.artifact_of(before)
        if there.get("PackageType") == "Image" and aws_lambda_settings.artifact_of(latest) != image:
            log(f"{name}: $LATEST gets the image of version {version} again")
            self._client.update_function_code(FunctionName=name, ImageUri=image)
            return Waiting(why=f"{name} is being updated", seconds=1.0)
        if previous.artifact and (latest.get("Tags") or {}).get(TAG_DIGEST) not in (None, previous.artifact):
            self._tag(latest, {TAG_DIGEST: previous.artifact})
            arn = _unqualified(there["FunctionArn"])
            self._client.untag_resource(Resource=arn, TagKeys=[TAG_COMMIT])
        return None

    def _code(self, desired: Desired) -> dict[str, Any]:
        """Where Lambda finds the code; a large package is put into the bucket first."""
        data, bucket = desired.package, desired.options.get("bucket")
        if data is None:
            return {"ImageUri": desired.artifact}
        if len(data) <= UPLOAD_LIMIT:
            return {"ZipFile": data}
        if self._s3 is None:
            raise InputError(f"{desired.name}: its package goes through S3, and there is no client for that")
        where = {"Bucket": str(bucket), "Key": f"triplane/{desired.name}/{desired.artifact[7:]}.zip"}
        if found(self._s3.head_object, "404", "NoSuchKey", **where) is None:
            self._s3.put_object(**where, Body=data)
        return {"S3Bucket": where["Bucket"], "S3Key": where["Key"]}

    def _with_role(self, desired: Desired, call: Callable[[], Any], why: str) -> Waiting:
        """Lambda cannot assume a role in the first seconds of its life: that is waited for, but not for long."""
        from botocore.exceptions import ClientError

        try:
            call()
        except ClientError as error:
            since = self._role_since.setdefault(desired.attempt, self._clock())
            young = "cannot be assumed" in str(error) and self._clock() - since < ROLE_SECONDS
            if code_of(error) != "InvalidParameterValueException" or not young:
                raise
            return Waiting(why=f"{desired.name}: Lambda cannot assume its role yet", seconds=2.0)
        return Waiting(why=why, seconds=1.0)

    def _tag(self, latest: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        there = latest.get("Tags") or {}
        if any(there.get(key) != value for key, value in tags.items()):
            self._client.tag_resource(
                Resource=_unqualified(latest["Configuration"]["FunctionArn"]), Tags=dict(tags)
            )

    def _function(self, name: str) -> Any:
        return found(self._client.get_function, FunctionName=name)

    def _alias(self, name: str) -> Any:
        return found(self._client.get_alias, FunctionName=name, Name=ALIAS)


def _tags(desired: Desired) -> dict[str, str]:
    bucket = desired.options.get("bucket")
    tags = {TAG_COMMIT: desired.revision, TAG_DIGEST: desired.artifact, TAG_BUCKET: str(bucket or "")}
    return {key: value for key, value in tags.items() if value}


def _unqualified(arn: str) -> str:
    return ":".join(arn.split(":")[:7])
