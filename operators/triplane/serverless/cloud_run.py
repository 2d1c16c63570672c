"""Google Cloud Run services: a revision is brought up without traffic, then gets all of it at once.

Traffic always names its revision, so nothing that was not deployed here begins to serve by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal

from triplane.core.errors import InputError, StaleError, TerminalError, TransientError
from triplane.serverless.cloud_run_template import (
    LABELS,
    options_of,
    plain_environment,
    service_body,
    traffic_of,
    version_of,
)
from triplane.serverless.target import Deployed, DeployFailed, Desired, Log, Observed

CONFIG: Final = "triplane.dev/config"
WAIT_SECONDS = 600


class CloudRun:
    """Services of one project and region.

    ``services`` and ``revisions`` are ``google.cloud.run_v2`` clients. Options: ``port``, ``memory``
    (``512Mi``), ``cpu`` (``1`` or ``500m``), ``timeout`` (seconds), ``concurrency`` (requests an instance),
    ``min_instances``, ``max_instances``, ``service_account`` (email), ``ingress`` (``all``, ``internal``,
    ``internal-and-cloud-load-balancing``). An environment value ``secretmanager://NAME/VERSION`` is read by
    Cloud Run from Secret Manager.
    """

    kind: Literal["package", "image"] = "image"
    options = frozenset(
        {"port", "memory", "cpu", "timeout", "concurrency", "min_instances", "max_instances",
         "service_account", "ingress"}
    )  # fmt: skip

    def __init__(self, services: Any, revisions: Any, *, project: str, region: str) -> None:
        self._services = services
        self._revisions = revisions
        self._parent = f"projects/{project}/locations/{region}"

    def observe(self, name: str) -> Observed | None:
        """The revision that serves (``a=90,b=10`` where traffic is split), and what it was made from."""
        service = self._get(name)
        return None if service is None else self._observed(service)

    def deploy(self, desired: Desired, observed: Observed | None, log: Log) -> Deployed:
        """Brings a revision up, moves the traffic, and reads back that it serves."""
        body = service_body(desired, {CONFIG: desired.config})
        with _errors(desired.name):
            service = self._get(desired.name)
            if service is None:
                return self._create(desired, body, log)
            return self._update(desired, body, service, log)

    def verify(self, desired: Desired, deployed: Deployed) -> None:
        """Reads back that the revision has all traffic, and the image that it runs."""
        with _errors(desired.name):
            self._check(desired, deployed.version)

    def restore(self, name: str, previous: Observed) -> None:
        """Gives the traffic back to ``previous.version``."""
        with _errors(name):
            service = self._get(name)
            if service is None:
                raise DeployFailed(f"{name}: there is no such service any more")
            self._move(service, previous.version)

    def delete(self, name: str) -> None:
        """Deletes the service and its revisions."""
        with _errors(name):
            if self._get(name) is not None:
                self._wait(self._services.delete_service(name=self._name(name)), name)

    def _create(self, desired: Desired, body: dict[str, Any], log: Log) -> Deployed:
        log(f"{desired.name}: creating the service with {desired.artifact}")
        request = {"parent": self._parent, "service_id": desired.name, "service": body}
        try:
            self._wait(self._services.create_service(request=request), desired.name)
            version = self._latest(desired.name)
            self._move(self._found(desired.name), version)
            self._check(desired, version)
        except DeployFailed as error:
            log(f"{desired.name}: removing the service, it never served")
            self._services.delete_service(name=self._name(desired.name)).result(timeout=WAIT_SECONDS)
            raise DeployFailed(f"{desired.name}: {error}; nothing served before", restored=None) from error
        return self._deployed(desired, version, log)

    def _update(self, desired: Desired, body: dict[str, Any], service: Any, log: Log) -> Deployed:
        before = version_of(service)
        log(f"{desired.name}: bringing up {desired.artifact} without traffic; {before or 'nothing'} serves")
        try:
            self._bring_up(body, service, before)
            version = self._latest(desired.name)
            log(f"{desired.name}: {version} is ready and takes over the traffic")
            self._move(self._found(desired.name), version)
            self._check(desired, version)
        except DeployFailed as error:
            restored = self._put_back(desired.name, before, log)
            raise DeployFailed(f"{desired.name}: {error}; {restored} serves", restored=restored) from error
        return self._deployed(desired, version, log)

    def _bring_up(self, body: dict[str, Any], service: Any, before: str) -> None:
        from google.cloud import run_v2

        wanted = run_v2.Service(
            body, name=service.name, etag=service.etag, labels={**service.labels, **LABELS}
        )
        # Field by field: what the spec cannot say (VPC access, volumes) stays as somebody else set it.
        template = [f"template.{field}" for field in (*body["template"], "revision")]
        mask = [*template, *(field for field in body if field != "template")]
        if before:
            wanted.traffic = traffic_of(before)
            mask.append("traffic")
        self._wait(
            self._services.update_service(request={"service": wanted, "update_mask": {"paths": mask}}),
            service.name,
        )

    def _move(self, service: Any, version: str) -> None:
        """Give the traffic to ``version``; nothing to do where it has it. :raises DeployFailed: it has it not"""
        if version_of(service) == version and _pinned(service):
            return
        change = {"name": service.name, "etag": service.etag, "traffic": traffic_of(version)}
        operation = self._services.update_service(
            request={"service": change, "update_mask": {"paths": ["traffic"]}}
        )
        try:
            self._wait(operation, service.name)
        except DeployFailed:
            # Cloud Run also complains of a newer revision that is not ready; what counts is who serves.
            if version_of(self._found(_short(service.name))) != version:
                raise

    def _put_back(self, name: str, before: str, log: Log) -> str | None:
        if not before:
            return None
        self._move(self._found(name), before)
        serving = version_of(self._found(name))
        if serving != before:
            raise DeployFailed(f"{name}: {before} could not be put back, {serving or 'nothing'} serves")
        log(f"{name}: traffic is at {before}, as before")
        return before

    def _check(self, desired: Desired, version: str) -> None:
        service = self._found(desired.name)
        serving = version_of(service)
        if serving != version:
            raise DeployFailed(f"{serving or 'nothing'} serves, not {version}")
        artifact = self._observed(service).artifact
        if artifact != desired.artifact:
            raise DeployFailed(f"{version} runs {artifact}, not {desired.artifact}")

    def _deployed(self, desired: Desired, version: str, log: Log) -> Deployed:
        uri = self._found(desired.name).uri
        log(f"{desired.name}: {version} serves 100 % at {uri}")
        return Deployed(version=version, details={"url": uri, "image": desired.artifact, "traffic": "100 %"})

    def _latest(self, name: str) -> str:
        """The revision that was brought up last. :raises DeployFailed: it is not ready"""
        service = self._found(name)
        created, ready = service.latest_created_revision, service.latest_ready_revision
        if created != ready:
            raise DeployFailed(f"{_short(created)} is not ready: {service.terminal_condition.message}")
        return _short(ready)

    def _observed(self, service: Any) -> Observed:
        """What the revision with most traffic was made from; a split has no stamp, so a plan repairs it."""
        version = version_of(service)
        if not version:
            return Observed(version="")
        first, _, _ = version.partition("=")
        revision = self._revisions.get_revision(name=f"{service.name}/revisions/{first}")
        container = revision.containers[0]
        return Observed(
            version=version,
            artifact=container.image,
            config=None if "=" in version else revision.annotations.get(CONFIG),
            environment=plain_environment(container.env),
            options=options_of(service, revision),
        )

    def _wait(self, operation: Any, name: str) -> None:
        """:raises DeployFailed: Cloud Run gave up"""
        from concurrent.futures import TimeoutError as Late

        from google.api_core.exceptions import GoogleAPICallError, RetryError

        try:
            operation.result(timeout=WAIT_SECONDS)
        except (Late, RetryError) as error:
            raise DeployFailed(f"{_short(name)} is not ready after {WAIT_SECONDS} s") from error
        except GoogleAPICallError as error:
            if operation.operation.error.code:
                raise DeployFailed(str(error.message)) from error
            raise

    def _get(self, name: str) -> Any:
        from google.api_core.exceptions import NotFound

        with _errors(name):
            try:
                return self._services.get_service(name=self._name(name))
            except NotFound:
                return None

    def _found(self, name: str) -> Any:
        service = self._get(name)
        if service is None:
            raise DeployFailed("the service is gone")
        return service

    def _name(self, name: str) -> str:
        return f"{self._parent}/services/{name}"


def _pinned(service: Any) -> bool:
    """Whether no target says "the latest", whatever that may become."""
    return all(target.revision for target in service.traffic)


def _short(name: str) -> str:
    return name.rpartition("/")[2]


@contextmanager
def _errors(name: str) -> Iterator[None]:
    """Google's errors as ours."""
    from google.api_core import exceptions

    transient = (exceptions.TooManyRequests, exceptions.ServerError, exceptions.RetryError)
    try:
        yield
    except exceptions.Conflict as error:
        raise StaleError(f"{name}: somebody changed the service meanwhile; plan again") from error
    except exceptions.BadRequest as error:
        raise InputError(f"{name}: Cloud Run refuses this: {error.message}") from error
    except transient as error:
        raise TransientError(f"{name}: {error}") from error
    except exceptions.GoogleAPIError as error:
        raise TerminalError(f"{name}: {error}") from error
