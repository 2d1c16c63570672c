"""Google Cloud Run services: a revision comes up without traffic, under a tag, and then gets its share.

Traffic always names its revision, so nothing that was not deployed here begins to serve by itself. A revision is
found again by the attempt that is written on it, whoever looks and whatever was cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

from triplane.core.errors import StaleError
from triplane.serverless.google.api import CALL, attempt_of, google_errors, step
from triplane.serverless.google.cloud_run_services import CloudRunServices, IdToken, complaint, short
from triplane.serverless.google.cloud_run_template import options_of, plain_environment, service_body
from triplane.serverless.google.cloud_run_traffic import shares_of, traffic_of, version_of
from triplane.serverless.google.logs import CloudLogs
from triplane.serverless.google.served import ServedByCloudRun
from triplane.serverless.target import (
    DeployFailed,
    Desired,
    Kind,
    Log,
    Observed,
    Progress,
    Ready,
    Waiting,
)

CONFIG: Final = "triplane.dev/config"
ATTEMPT: Final = "triplane.dev/attempt"
CREATED: Final = "triplane.dev/created"
"""On a service: the attempt that has made it."""
LOOKED_AT: Final = 100
"""So many of the newest revisions are looked at to find one of ours."""


class CloudRun(ServedByCloudRun):
    """Services of one project and region.

    ``services`` and ``revisions`` are ``google.cloud.run_v2`` clients (REST); ``id_token`` gives a token for an
    audience, for smoke tests. Options: ``port``, ``memory`` (``512Mi``), ``cpu`` (``1`` or ``500m``), ``timeout``
    (seconds), ``concurrency`` (requests an instance), ``min_instances``, ``max_instances``, ``service_account``
    (email), ``ingress`` (``all``, ``internal``, ``internal-and-cloud-load-balancing``), ``execution_environment``
    (``gen1``, ``gen2``), ``vpc_connector`` (full name) or ``network`` and ``subnetwork`` (direct VPC), ``egress``
    (``private-ranges-only``, ``all-traffic``), ``invokers`` (list of ``allUsers``, ``serviceAccount:EMAIL``, ...: all
    who have ``roles/run.invoker``). An environment value ``secretmanager://NAME/VERSION`` is read by Cloud Run from
    Secret Manager.
    """

    runs: frozenset[Kind] = frozenset({"image"})
    options = frozenset(
        {"port", "memory", "cpu", "timeout", "concurrency", "min_instances", "max_instances", "service_account",
         "ingress", "execution_environment", "vpc_connector", "network", "subnetwork", "egress", "invokers"}
    )  # fmt: skip

    def __init__(
        self,
        services: Any,
        revisions: Any,
        *,
        project: str,
        region: str,
        id_token: IdToken | None = None,
        logs: CloudLogs | None = None,
    ) -> None:
        self._run = CloudRunServices(services, revisions, id_token, logs)
        self._parent = f"projects/{project}/locations/{region}"

    def observe(self, name: str) -> Observed | None:
        """The revision that serves (``a=90,b=10`` where traffic is split), and what it was made from."""
        with google_errors(name):
            service = self._run.get(self._service_name(name))
            return None if service is None or service.delete_time else self._observed(service)

    def prepare(self, desired: Desired, previous: Observed | None, log: Log) -> Progress:
        """Bring up a revision without traffic, with a tag; the first one of a service gets the traffic at once.

        Ingress and invokers belong to the service, so they change for what serves too.
        """
        attempt = attempt_of(desired)
        body = service_body(desired, {CONFIG: desired.config, ATTEMPT: attempt})
        return step(desired.name, lambda: self._prepare(desired, body, previous, log))

    def restore(self, name: str, previous: Observed | None, log: Log) -> Progress:
        """Give the traffic back, with ingress and invokers; delete a service that the deployment has made."""
        return step(name, lambda: self._restore(name, previous, log))

    def delete(self, name: str) -> Progress:
        """Delete the service and its revisions."""
        return step(name, lambda: self._run.delete(self._service_name(name)))

    def _prepare(
        self, desired: Desired, body: dict[str, Any], previous: Observed | None, log: Log
    ) -> Progress:
        service = self._run.get(self._service_name(desired.name))
        if service is None:
            return self._create(desired, body, previous, log)
        if service.delete_time:
            return Waiting(why="the service is still being deleted")
        revision = self._own(service, desired.attempt)
        if service.template.annotations.get(ATTEMPT) != desired.attempt:
            if revision is not None:
                raise StaleError(f"{desired.name}: somebody else has deployed meanwhile; plan again")
            return self._update(desired, body, service, previous, log)
        if not _ready(service, revision):
            return Waiting(why=f"Cloud Run brings up {short(service.latest_created_revision)}")
        version = short(revision.name)
        if waiting := self._run.show(service, version, previous, desired.attempt):
            return waiting
        invokers = desired.known_options().get("invokers")
        if isinstance(invokers, Sequence):
            self._run.invite(service.name, invokers)
        return Ready(version=version, details={"url": service.uri, "image": desired.artifact})

    def _create(
        self, desired: Desired, body: dict[str, Any], previous: Observed | None, log: Log
    ) -> Progress:
        if previous is not None:
            raise StaleError(f"{desired.name}: somebody has deleted the service meanwhile; plan again")
        log(f"{desired.name}: creating the service with {desired.artifact}")
        made = {**body, "annotations": {CREATED: desired.attempt}}
        request = {"parent": self._parent, "service_id": desired.name, "service": made}
        self._run.services.create_service(request=request, **CALL)
        return Waiting(why="the service is being created")

    def _update(
        self, desired: Desired, body: dict[str, Any], service: Any, previous: Observed | None, log: Log
    ) -> Progress:
        serving = version_of(service)
        if previous is None or previous.version != serving:
            before = previous.version if previous else ""
            raise StaleError(
                f"{desired.name}: {serving or 'nothing'} serves, where {before or 'nothing'} did; plan again"
            )
        log(f"{desired.name}: bringing up {desired.artifact} without traffic; {serving or 'nothing'} serves")
        # Field by field: what the spec cannot say (volumes) stays as somebody else set it.
        paths = [f"template.{field}" for field in (*body["template"], "revision")]
        fields = {**body, "labels": {**service.labels, **body["labels"]}}
        if serving:
            fields["traffic"] = traffic_of(serving)
        self._run.update(service, fields, [*paths, *(field for field in fields if field != "template")])
        return Waiting(why="a revision is being made")

    def _own(self, service: Any, attempt: str) -> Any:
        """The newest revision of ``attempt``, None without."""
        latest = short(service.latest_created_revision)
        found = self._run.revision(service.name, latest) if latest else None
        if found is not None and found.annotations.get(ATTEMPT) == attempt:
            return found
        request = {"parent": service.name, "page_size": LOOKED_AT}
        newest = islice(self._run.revisions.list_revisions(request=request, **CALL), LOOKED_AT)
        return next((each for each in newest if each.annotations.get(ATTEMPT) == attempt), None)

    def _restore(self, name: str, previous: Observed | None, log: Log) -> Progress:
        service = self._run.get(self._service_name(name))
        if service is None:
            if previous is not None and previous.version:
                raise DeployFailed(f"{name}: somebody has deleted the service; {previous.version} is gone")
            return Ready(version="")
        if service.delete_time:
            return Waiting(why="the service is being deleted")
        if previous is not None:
            return self._run.put_back(service, previous, lambda made: ATTEMPT in made.annotations, log)
        if service.annotations.get(CREATED) != service.template.annotations.get(ATTEMPT, "-"):
            log(f"{name}: somebody else has made or changed the service meanwhile, so it stays")
            return Ready(version=version_of(service))
        log(f"{name}: removing the service, there was none before")
        return self._run.delete(service.name)

    def _observed(self, service: Any) -> Observed:
        """What the revision with most traffic was made from; a split has no stamp, so a plan repairs it."""
        version = version_of(service)
        invokers = self._run.invokers(service.name)
        known = {} if invokers is None else {"invokers": invokers}
        revision = self._run.revision(service.name, next(iter(shares_of(version)))) if version else None
        if revision is None:
            return Observed(version=version, options=known)
        container = revision.containers[0]
        return Observed(
            version=version,
            artifact=container.image,
            config=None if "=" in version else revision.annotations.get(CONFIG),
            environment=plain_environment(container.env),
            options={**options_of(service, revision), **known},
        )

    def _service_name(self, name: str) -> str:
        return f"{self._parent}/services/{name}"


def _ready(service: Any, revision: Any) -> bool:
    """Whether the revision is up. :raises DeployFailed: it will not be"""
    if revision is None:
        if service.reconciling:
            return False
        raise DeployFailed(f"no revision was made: {complaint(service)}")
    if short(service.latest_ready_revision) == short(revision.name):
        return True
    states = {each.type_: each.state.name for each in revision.conditions}
    if states.get("Ready") == "CONDITION_SUCCEEDED":
        return True
    if states.get("Ready") == "CONDITION_FAILED" or not (service.reconciling or revision.reconciling):
        reason = complaint(revision if "CONDITION_FAILED" in states.values() else service)
        raise DeployFailed(f"{short(revision.name)} is not ready: {reason}")
    return False
