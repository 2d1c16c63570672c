"""AWS Fargate: a revision of a task definition, rolled out by an ECS service with its circuit breaker on.

Two revisions cannot share the traffic in a chosen ratio. ECS stops a rollout whose tasks do not start or stay healthy,
and goes back to the last one that did.
"""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any, Final

from triplane.core.errors import InputError, StaleError, TriplaneError
from triplane.serverless.aws import fargate_task
from triplane.serverless.aws import logs as aws_logs
from triplane.serverless.aws.errors import errors, found
from triplane.serverless.aws.fargate_task import TAG_ATTEMPT, TAG_COMMIT, TAG_DIGEST, TAG_URL, short
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
)

ROLLED_OUT: Final = "triplane:revision"
"""The tag of the service that names the revision which was last given to it."""
NEWEST: Final = 10
EVENTS: Final = 5
BODY_LIMIT: Final = 1_000_000


class Fargate:
    """Services of one cluster; ``client`` is boto3's of ``ecs``.

    Options: ``cpu`` (units, 1024 a core) and ``memory`` (MiB), ``execution_role`` (ARN), ``subnets`` and
    ``security_groups`` (ids) are needed; ``role`` (of the task, ARN), ``port``, ``desired_count`` (1 for a new service,
    else what it is), ``public_ip``, ``target_group`` (ARN), ``health_check`` (a shell command), ``architecture``
    (``x86_64``, ``arm64``), ``minimum_healthy_percent`` and ``maximum_percent`` of a rollout, ``log_group``, ``url`` (where
    the service answers), ``cluster`` (must be the one of this target).

    An environment value ``secretsmanager://NAME`` or ``secretsmanager://NAME/VERSION`` (a stage like ``AWSPREVIOUS``, or
    a version id) and ``ssm://NAME`` is read by ECS. ``secrets`` (boto3's of ``secretsmanager``) finds their ARNs,
    ``logs`` is for :meth:`tail`.
    """

    options = fargate_task.OPTIONS
    runs: frozenset[Kind] = frozenset({"image"})
    splits = False
    apart = False

    def __init__(
        self, client: Any, *, cluster: str = "default", secrets: Any = None, logs: Any = None
    ) -> None:
        self._client = client
        self._cluster = cluster
        self._secrets = secrets
        self._logs = logs

    def observe(self, name: str) -> Observed | None:
        """The revision that the service runs, or rolls out: ``name:7``."""
        with errors(f"reading {name}"):
            service = self._service(name)
            if service is None or service["status"] != "ACTIVE":
                return None
            task, tags = self._revision(service["taskDefinition"])
            version = short(service["taskDefinition"])
            return fargate_task.observed(version, service, task, tags, self._cluster)

    def prepare(self, desired: Desired, previous: Observed | None, log: Log) -> Progress:
        """Registers a revision, once in an attempt. Nothing runs it yet."""
        name = desired.name
        with errors(f"deploying {name}"):
            options = fargate_task.check(desired)
            if options.get("cluster", self._cluster) != self._cluster:
                raise InputError(
                    f"{name}: the target is cluster {self._cluster}, and not {options['cluster']}"
                )
            made = self._made(name, desired.attempt)
            if made is None:
                self._check_unclaimed(name, previous)
                region = self._client.meta.region_name
                definition = fargate_task.definition(desired, self._secret_arn, region)
                answer = self._client.register_task_definition(**definition)
                made = short(answer["taskDefinition"]["taskDefinitionArn"])
                log(f"{name}: registered {made} with {desired.artifact}")
        url = str(options.get("url") or "")
        return Ready(version=made, details={"image": desired.artifact, **({"url": url} if url else {})})

    def shift(self, name: str, version: str, percent: int, previous: Observed | None, log: Log) -> Progress:
        """Rolls ``version`` out; ready when ECS says that this is completed.

        :raises DeployFailed: its tasks do not start or stay healthy
        """
        if percent != 100:
            raise InputError(f"{name}: Fargate cannot give {percent} % of the traffic to a revision")
        with errors(f"rolling out {version}"):
            service = self._service(name)
            task, tags = self._revision(version)
            options = fargate_task.service_options(task)
            if service is None or service["status"] == "INACTIVE":
                if previous is not None:
                    raise StaleError(f"{name}: somebody deleted the service meanwhile; plan again")
                return self._create(name, version, options, tags, log)
            if service["status"] != "ACTIVE":
                return Waiting(why=f"{name} of before is being removed", seconds=5.0)
            running = short(service["taskDefinition"])
            if running != version:
                if _tags(service).get(ROLLED_OUT) == version:
                    raise DeployFailed(f"{name}: ECS took {version} back: {self._why(service, version)}")
                if running != (previous.version if previous else ""):
                    raise StaleError(f"{name}: somebody rolled out {running} meanwhile; plan again")
                return self._update(service, version, options, tags, log)
            if _tags(service).get(ROLLED_OUT) != version:
                self._mark(service, version, tags)
            return self._rollout(service, version)

    def verify(self, desired: Desired, version: str) -> None:
        """Reads back the revision, its image and its stamp."""
        observed = self.observe(desired.name)
        if observed is None or observed.version != version:
            serves = observed.version if observed else "nothing"
            raise DeployFailed(f"{desired.name}: {serves} serves, not {version}")
        if observed.artifact != desired.artifact:
            raise DeployFailed(f"{desired.name}: {observed.artifact} serves, not {desired.artifact}")
        if observed.config != desired.config:
            raise DeployFailed(f"{desired.name}: {version} has another configuration")

    def restore(self, name: str, previous: Observed | None, log: Log) -> Progress:
        """Rolls ``previous`` out again with its network, load balancer and percentages, or removes the service.

        The number of tasks is put back where the spec of that revision had set it, and else left to who scales the
        service. Revisions stay registered; they cost nothing.
        """
        with errors(f"restoring {name}"):
            service = self._service(name)
            if previous is None:
                return self._remove(name, service, log)
            if service is None or service["status"] != "ACTIVE":
                raise DeployFailed(f"{name}: the service is gone, so {previous.version} cannot be put back")
            task, tags = self._revision(previous.version)
            managed = "desired_count" in fargate_task.service_options(task)
            options = {k: v for k, v in previous.options.items() if k != "desired_count" or managed}
            moved = short(service["taskDefinition"]) != previous.version
            if moved or self._differs(name, service, options):
                return self._update(service, previous.version, options, tags, log)
            return self._rollout(service, previous.version)

    def invoke(self, name: str, version: str, smoke: Smoke) -> Answer:
        """Asks the service at the ``url`` of the revision.

        :raises InputError: it has no ``url``, or does not run this revision: one that has no traffic cannot be asked
        """
        with errors(f"asking {name}"):
            url = self._revision(version)[1].get(TAG_URL)
            service = self._service(name)
        if not url:
            raise InputError(f"{name}: a revision on Fargate can be asked only with the option `url`")
        if service is None or short(service["taskDefinition"]) != version:
            raise InputError(f"{name}: {version} cannot be asked before it is rolled out; leave `smoke` out")
        return _ask(url, smoke)

    def tail(self, name: str, version: str) -> Sequence[str]:
        """Why its tasks stopped, what the service said last, and the last lines of its log."""
        try:
            with errors(f"reading {name}"):
                service = self._service(name)
                events = [event["message"] for event in (service or {}).get("events", ())[:EVENTS]]
                stopped = self._stopped(name, version)
                log = self._revision(version)[0]["containerDefinitions"][0] if version else {}
        except TriplaneError:
            return ()
        group = ((log.get("logConfiguration") or {}).get("options") or {}).get("awslogs-group")
        lines = aws_logs.last_lines(self._logs, group, lambda each: each.startswith(name)) if group else ()
        return (*lines, *reversed(events), *stopped)

    def delete(self, name: str) -> Progress:
        """Stops its tasks and deletes the service. Revisions stay registered."""
        with errors(f"deleting {name}"):
            service = self._service(name)
            if service is None or service["status"] == "INACTIVE":
                return Ready(version="")
            if service["status"] == "ACTIVE":
                which = {"cluster": self._cluster, "service": name, "force": True}
                found(self._client.delete_service, "ServiceNotFoundException", **which)
        return Waiting(why=f"the tasks of {name} are being stopped", seconds=5.0)

    def _create(
        self, name: str, version: str, options: Mapping[str, Any], tags: Mapping[str, str], log: Log
    ) -> Waiting:
        log(f"{name}: creating the service with {version}")
        given = {"desiredCount": 1, **fargate_task.service(name, options)}
        self._client.create_service(
            cluster=self._cluster, serviceName=name, taskDefinition=version, launchType="FARGATE",
            clientToken=hashlib.sha256(version.encode()).hexdigest()[:32],
            propagateTags="TASK_DEFINITION", tags=_listed(_marks(version, tags)), **given,
        )  # fmt: skip
        return Waiting(why=f"{version} is being rolled out", seconds=5.0)

    def _update(
        self,
        service: Mapping[str, Any],
        version: str,
        options: Mapping[str, Any],
        tags: Mapping[str, str],
        log: Log,
    ) -> Waiting:
        name = service["serviceName"]
        log(f"{name}: rolling out {version}")
        given = fargate_task.service(name, options)
        self._client.update_service(
            cluster=self._cluster,
            service=name,
            taskDefinition=version,
            propagateTags="TASK_DEFINITION",
            **given,
        )
        self._mark(service, version, tags)
        return Waiting(why=f"{version} is being rolled out", seconds=5.0)

    def _mark(self, service: Mapping[str, Any], version: str, tags: Mapping[str, str]) -> None:
        """After this, a service that runs another revision has taken ``version`` back."""
        self._client.tag_resource(resourceArn=service["serviceArn"], tags=_listed(_marks(version, tags)))

    def _rollout(self, service: Mapping[str, Any], version: str) -> Progress:
        """How far the rollout is. :raises DeployFailed: it failed"""
        primary = next((each for each in service["deployments"] if each["status"] == "PRIMARY"), None)
        if primary is None or primary.get("rolloutState") == "IN_PROGRESS":
            counts = primary or {}
            running = f"{counts.get('runningCount', 0)} of {counts.get('desiredCount', 0)} tasks run"
            failed = f", {counts['failedTasks']} failed" if counts.get("failedTasks") else ""
            return Waiting(why=f"{version} is being rolled out: {running}{failed}", seconds=5.0)
        if primary.get("rolloutState") == "FAILED":
            raise DeployFailed(f"{version} was not rolled out: {primary.get('rolloutStateReason')}")
        return Ready(version=version, details={"cluster": self._cluster})

    def _remove(self, name: str, service: Mapping[str, Any] | None, log: Log) -> Progress:
        """Delete what a deployment made, and nothing that somebody else did."""
        if service is not None and service["status"] == "ACTIVE" and not _tags(service).get(ROLLED_OUT):
            log(f"{name}: somebody else made this service, so it stays")
            return Ready(version=short(service["taskDefinition"]))
        return self.delete(name)

    def _differs(self, name: str, service: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
        """Whether the service has other settings than ``options``."""
        there = fargate_task.observed("", service, _NOTHING, {}, self._cluster).options
        keys = [key for key in options if key in fargate_task.SERVICE_OPTIONS]
        return any(_plain(options[key]) != _plain(there.get(key)) for key in keys)

    def _check_unclaimed(self, name: str, previous: Observed | None) -> None:
        service = self._service(name)
        there = short(service["taskDefinition"]) if service and service["status"] == "ACTIVE" else ""
        if there != (previous.version if previous else ""):
            raise StaleError(f"{name}: {there or 'nothing'} serves by now; plan again")

    def _why(self, service: Mapping[str, Any], version: str) -> str:
        for deployment in service["deployments"]:
            if short(deployment["taskDefinition"]) == version and deployment.get("rolloutState") == "FAILED":
                return str(deployment.get("rolloutStateReason"))
        said = [event["message"] for event in service.get("events", ())[:EVENTS]]
        return next((line for line in said if "deployment failed" in line), "the circuit breaker stopped it")

    def _stopped(self, name: str, version: str) -> list[str]:
        which = {"cluster": self._cluster, "family": name, "desiredStatus": "STOPPED"}
        arns = self._client.list_tasks(**which)["taskArns"][:NEWEST]
        tasks = self._client.describe_tasks(cluster=self._cluster, tasks=arns)["tasks"] if arns else ()
        return [
            f"task {short(task['taskArn'])} stopped: {_reason(task)}"
            for task in tasks
            if short(task["taskDefinitionArn"]) == version
        ]

    def _made(self, name: str, attempt: str) -> str | None:
        """The revision that this attempt has registered."""
        arns = self._client.list_task_definitions(familyPrefix=name, status="ACTIVE", sort="DESC")
        newest = sorted(
            map(short, arns["taskDefinitionArns"]), key=lambda each: -int(each.rpartition(":")[2])
        )
        for version in newest[:NEWEST]:
            if self._revision(version)[1].get(TAG_ATTEMPT) == attempt:
                return version
        return None

    def _revision(self, version: str) -> tuple[Mapping[str, Any], dict[str, str]]:
        answer = self._client.describe_task_definition(taskDefinition=version, include=["TAGS"])
        return answer["taskDefinition"], _tags(answer)

    def _service(self, name: str) -> Any:
        answer = self._client.describe_services(cluster=self._cluster, services=[name], include=["TAGS"])
        return next(iter(answer["services"]), None)

    def _secret_arn(self, name: str) -> str:
        if self._secrets is None:
            raise InputError(f"secretsmanager://{name}: there is no client to look it up with")
        return str(self._secrets.describe_secret(SecretId=name)["ARN"])


_NOTHING: Final[Mapping[str, Any]] = {"containerDefinitions": [{"image": ""}]}


def _ask(url: str, smoke: Smoke) -> Answer:
    data = None if smoke.payload is None else json.dumps(smoke.payload).encode()
    request = urllib.request.Request(url.rstrip("/") + smoke.path, data=data, method=smoke.method)
    if data is not None:
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=smoke.timeout) as answer:
            return Answer(status=answer.status, body=answer.read(BODY_LIMIT).decode(errors="replace"))
    except urllib.error.HTTPError as error:
        return Answer(status=error.code, body=error.read(BODY_LIMIT).decode(errors="replace"))
    except OSError:
        return Answer(status=0)


def _reason(task: Mapping[str, Any]) -> str:
    said = [str(task.get("stoppedReason") or "no reason given")]
    for container in task.get("containers") or ():
        code = container.get("exitCode")
        said += [str(container["reason"])] if container.get("reason") else []
        said += [f"exit code {code}"] if code is not None else []
    return "; ".join(said)


def _marks(version: str, tags: Mapping[str, str]) -> dict[str, str]:
    return {ROLLED_OUT: version, **{key: tags[key] for key in (TAG_COMMIT, TAG_DIGEST) if key in tags}}


def _listed(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in tags.items()]


def _tags(answer: Mapping[str, Any]) -> dict[str, str]:
    return {each["key"]: each.get("value", "") for each in answer.get("tags") or ()}


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, list | tuple) else value
