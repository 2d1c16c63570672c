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
from triplane.serverless.aws import access as aws_access
from triplane.serverless.aws import lambda_code as aws_lambda_code
from triplane.serverless.aws import lambda_outside as aws_lambda_outside
from triplane.serverless.aws import lambda_settings as aws_lambda_settings
from triplane.serverless.aws import logs as aws_logs
from triplane.serverless.aws.errors import code_of, errors, found
from triplane.serverless.aws.lambda_settings import ALIAS, Stamp, stamp_of, versions_in
from triplane.serverless.target import (
    Answer,
    DeployFailed,
    Desired,
    Kind,
    Log,
    Observed,
    Progress,
    Ready,
    Smoke,
    Waiting,
    main_version,
)

CHANGED: Final = "PreconditionFailedException"
ROLE_SECONDS: Final = 30.0


class AwsLambda:
    """Functions of one account and region; ``client`` is boto3's of ``lambda``, ``logs`` and ``s3`` theirs. ``asking``
    makes one of ``lambda`` that waits only so many seconds for an answer, and asks once.

    Options: ``role`` (needed, ARN), ``handler`` and ``runtime`` (needed by a package), ``memory`` and
    ``ephemeral_storage`` in MiB, ``timeout`` in seconds, ``architecture`` (``x86_64``, ``arm64``), ``layers`` (version
    ARNs), ``subnets`` with ``security_groups`` (ids), ``reserved_concurrency``, ``url`` (``none``, ``aws_iam``,
    ``public``), ``invokers`` (see :mod:`triplane.serverless.aws.access`), and ``bucket`` for packages above 50 MiB.

    The value of an environment variable may be the ARN of a secret, which the function then reads itself.

    The last four options belong to the function or its alias, not to a version: they change when a new version is
    ready, before it has traffic. :meth:`restore` puts them back.
    """

    options = aws_lambda_settings.OPTIONS
    runs: frozenset[Kind] = frozenset({"package", "image"})
    splits = True
    apart = True

    def __init__(
        self,
        client: Any,
        *,
        logs: Any = None,
        s3: Any = None,
        asking: Callable[[float], Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._logs = logs
        self._s3 = s3
        self._asking = asking or (lambda seconds: client)
        self._clock = clock
        self._role_since: dict[str, float] = {}

    def observe(self, name: str) -> Observed | None:
        """What ``live`` leads to (``3=90,4=10`` where its traffic is split, ``3`` the larger part or the older one).

        A function without that alias is there, but serves no version: ``""``.
        """
        with errors(f"reading {name}"):
            latest = self._function(name)
            if latest is None:
                return None
            alias = self._alias(name)
            outside = aws_lambda_outside.read(self._client, name, latest, alias=alias is not None)
            if alias is None:
                return aws_lambda_settings.observed("", latest, outside)
            live = self._client.get_function(FunctionName=name, Qualifier=alias["FunctionVersion"])
            return aws_lambda_settings.observed(aws_lambda_settings.version_of(alias), live, outside)

    def prepare(self, desired: Desired, previous: Observed | None, log: Log) -> Progress:
        """Brings ``$LATEST`` up to date and publishes it. Where no version serves yet, and it shall have a URL or
        invokers, ``live`` is made here, since these belong to it.
        """
        from botocore.exceptions import ClientError

        settings = aws_lambda_settings.settings(desired)
        aws_lambda_code.check(desired)
        name, stamp = desired.name, Stamp(desired.config, desired.attempt)
        with errors(f"deploying {name}"):
            latest = self._function(name)
            if latest is None:
                if previous is not None:
                    raise StaleError(f"{name}: somebody deleted it meanwhile; plan again")
                return self._create(desired, settings, stamp, log)
            if previous is None and stamp_of(latest["Configuration"]) != stamp:
                raise StaleError(f"{name}: somebody else created it meanwhile; plan again")
            version = self._published(name, stamp)
            try:
                if version is None:
                    waiting = self._bring_up(desired, latest, settings, stamp, log)
                    if waiting is not None:
                        return waiting
                    version = self._publish(desired, latest["Configuration"], stamp, log)
            except ClientError as error:
                if code_of(error) != CHANGED or not self._is_ours(name, settings, stamp):
                    raise
                return Waiting(why=f"{name} has changed since it was read", seconds=1.0)
            return self._settle(desired, version, latest, log)

    def shift(self, name: str, version: str, percent: int, previous: Observed | None, log: Log) -> Progress:
        """Weighs ``live``; with 100 percent it leads to ``version`` alone."""
        before = previous.version if previous else ""
        if percent < 100 and not before:
            raise InputError(f"{name}: nothing serves that could have the rest of the traffic")
        wanted = aws_lambda_settings.shares(version, percent, before)
        with errors(f"moving {ALIAS} of {name}"):
            alias = self._alias(name)
            there = aws_lambda_settings.version_of(alias) if alias else ""
            known = {main_version(before), version}
            if there and main_version(there) not in known and not set(versions_in(there)) <= known:
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
            self._move(name, previous.version, alias, log, guarded=False)
            aws_lambda_outside.apply(self._client, name, previous.options, latest, log, whole=True)
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
                answer = self._asking(smoke.timeout).invoke(
                    FunctionName=name, Qualifier=version, LogType="Tail", Payload=payload
                )
            except ReadTimeoutError:
                return Answer(status=0, log=(f"no answer in {smoke.timeout:g} s",))
            except ClientError as error:
                if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 502:
                    return Answer(status=502, log=(str(error),))
                raise
            body = answer["Payload"].read().decode(errors="replace")
        log = base64.b64decode(answer.get("LogResult") or "").decode(errors="replace")
        return Answer(status=500 if answer.get("FunctionError") else 200, body=body, log=log.splitlines())

    def tail(self, name: str, version: str) -> Sequence[str]:
        """The last lines in CloudWatch Logs; nothing without a ``logs`` client."""
        if not version:
            return ()
        return aws_logs.last_lines(self._logs, f"/aws/lambda/{name}", lambda stream: f"[{version}]" in stream)

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
        if stamp_of(latest["Configuration"]) is None:
            log(f"{name}: somebody else made this function, so it stays")
            there = self.observe(name)
            return Ready(version=there.version if there else "")
        log(f"{name}: removing the function that this deployment made")
        return self.delete(name)

    def _create(self, desired: Desired, settings: Mapping[str, Any], stamp: Stamp, log: Log) -> Progress:
        name, options = desired.name, desired.known_options()
        log(f"{name}: creating the function")
        extra = {"Architectures": [options["architecture"]]} if "architecture" in options else {}
        extra["PackageType"] = "Image" if desired.package is None else "Zip"  # type: ignore[assignment]
        return self._with_role(
            desired,
            lambda: self._client.create_function(
                FunctionName=name, Code=aws_lambda_code.source(desired, self._s3), Publish=False, Description=str(stamp),
                Tags=aws_lambda_outside.tags(desired), **extra, **settings,
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
        which = {"FunctionName": name, **_revision(there)}
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
            self._client.update_function_code(
                **which, **aws_lambda_code.source(desired, self._s3), **extra, Publish=False
            )
            return Waiting(why=f"{name} gets its code", seconds=1.0)
        return None

    def _is_ours(self, name: str, settings: Mapping[str, Any], stamp: Stamp) -> bool:
        """Whether it was changed by this attempt: boto3 repeats a call whose answer it did not get."""
        there = self._client.get_function(FunctionName=name)["Configuration"]
        return stamp_of(there) == stamp and not aws_lambda_settings.differing(settings, there)

    def _publish(self, desired: Desired, there: Mapping[str, Any], stamp: Stamp, log: Log) -> str:
        published = self._client.publish_version(
            FunctionName=desired.name,
            CodeSha256=there["CodeSha256"],
            Description=str(stamp),
            **_revision(there),
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
        aws_lambda_outside.tag(self._client, latest, aws_lambda_outside.tags(desired))
        options = desired.known_options()
        if {"url", "invokers"} & set(options) and self._alias(name) is None:
            self._move(name, version, None, log)
        address = aws_lambda_outside.apply(self._client, name, options, latest, log)
        return Ready(version=version, details={"alias": ALIAS, **({"url": address} if address else {})})

    def _move(
        self, name: str, wanted: str, alias: Mapping[str, Any] | None, log: Log, *, guarded: bool = True
    ) -> None:
        """Let ``live`` lead to ``wanted``; no call where it does. ``guarded`` refuses what changed meanwhile."""
        which = {"FunctionName": name, "Name": ALIAS, **aws_lambda_settings.routing(wanted)}
        if alias is None:
            if not which["RoutingConfig"]["AdditionalVersionWeights"]:
                del which["RoutingConfig"]
            self._client.create_alias(**which)
        elif aws_lambda_settings.version_of(alias) == wanted:
            return
        else:
            moved = found(
                self._client.update_alias, CHANGED, **which, **(_revision(alias) if guarded else {})
            )
            if moved is None and aws_lambda_settings.version_of(self._alias(name)) != wanted:
                raise StaleError(f"{name}: somebody moved {ALIAS} meanwhile; plan again")
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
        aws_lambda_outside.tag_restored(self._client, latest, previous.artifact)
        return None

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

    def _function(self, name: str) -> Any:
        return found(self._client.get_function, FunctionName=name)

    def _alias(self, name: str) -> Any:
        return found(self._client.get_alias, FunctionName=name, Name=ALIAS)


def _revision(there: Mapping[str, Any]) -> dict[str, str]:
    """With this a call is refused when somebody has changed what was read."""
    return {"RevisionId": there["RevisionId"]} if "RevisionId" in there else {}
