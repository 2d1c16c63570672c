"""Google Cloud Functions (2nd gen): Google builds the package, and a Cloud Run service beneath serves its revisions.

Traffic is the service's, so it is shared and put back there. A deployment is found again by its label on the
function, or on the operation that is at work. After an update that failed the function stays FAILED and shows what
it should have become, while the revision from before serves; the next deployment updates it as any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from triplane.core.errors import InputError, StaleError
from triplane.serverless.google import cloud_functions_body as body
from triplane.serverless.google.api import attempt_of, google_errors, step
from triplane.serverless.google.cloud_functions_api import CloudFunctionsApi
from triplane.serverless.google.cloud_run_services import CloudRunServices, IdToken, short
from triplane.serverless.google.cloud_run_template import options_of, plain_environment
from triplane.serverless.google.cloud_run_traffic import shares_of, traffic_of, version_of
from triplane.serverless.google.logs import CloudLogs
from triplane.serverless.google.served import ServedByCloudRun
from triplane.serverless.target import (
    DeployFailed,
    Desired,
    Kind,
    Log,
    Observed,
    Option,
    Progress,
    Ready,
    Waiting,
)

BUILD_SECONDS = 10.0
Function = dict[str, Any]


class CloudFunctions(ServedByCloudRun):
    """HTTP functions of one project and region.

    ``session`` is a ``google.auth.transport.requests.AuthorizedSession``, ``services`` and ``revisions`` are
    ``google.cloud.run_v2`` clients (REST); ``id_token`` gives a token for an audience, for smoke tests. Options:
    ``runtime`` (``python312``), ``entry_point`` (name of the function in the code), ``build_service_account`` (full
    name), ``memory`` (``256Mi``), ``cpu`` (``1``), ``timeout`` (seconds), ``concurrency`` (requests an instance),
    ``min_instances``, ``max_instances``, ``service_account`` (email), ``ingress`` (``all``, ``internal``,
    ``internal-and-cloud-load-balancing``), ``vpc_connector`` (full name) or ``network`` and ``subnetwork`` (direct
    VPC), ``egress`` (``private-ranges-only``, ``all-traffic``), ``invokers`` (list of ``allUsers``,
    ``serviceAccount:EMAIL``, ...: all who have ``roles/run.invoker`` on the service). An environment value
    ``secretmanager://NAME/VERSION`` is read from Secret Manager when an instance starts.
    """

    runs: frozenset[Kind] = frozenset({"package"})
    options = frozenset(
        {
            *body.BUILD,
            *body.SERVICE,
            "ingress",
            "vpc_connector",
            "network",
            "subnetwork",
            "egress",
            "invokers",
        }
    )

    def __init__(
        self,
        session: Any,
        services: Any,
        revisions: Any,
        *,
        project: str,
        region: str,
        id_token: IdToken | None = None,
    ) -> None:
        self._api = CloudFunctionsApi(session, project=project, region=region)
        self._run = CloudRunServices(services, revisions, id_token, CloudLogs(session, project))

    def observe(self, name: str) -> Observed | None:
        """The revision that serves (``a=90,b=10`` where traffic is split), and what it was made from."""
        with google_errors(name):
            function = self._api.get(name)
            return None if function is None or function["state"] == "DELETING" else self._observed(function)

    def prepare(self, desired: Desired, previous: Observed | None, log: Log) -> Progress:
        """Have the package built and a revision brought up without traffic, under a tag.

        Ingress and invokers belong to the service, so they change for what serves too.
        """
        attempt_of(desired)
        wanted = body.function_body(desired, self._api.project, previous)
        return step(desired.name, lambda: self._prepare(desired, wanted, previous, log))

    def restore(self, name: str, previous: Observed | None, log: Log) -> Progress:
        """Give the traffic back, with ingress and invokers; delete a function that the deployment has made."""
        return step(name, lambda: self._restore(name, previous, log))

    def delete(self, name: str) -> Progress:
        """Delete the function with its service, once no other operation is at work on it."""
        return step(name, lambda: self._delete(name, self._api.get(name)))

    def _prepare(self, desired: Desired, wanted: Function, previous: Observed | None, log: Log) -> Progress:
        operation = self._api.operation(desired.name, (body.ATTEMPT, desired.attempt))
        if operation is not None and not operation.get("done"):
            return Waiting(why=_stage(operation), seconds=BUILD_SECONDS)
        if operation is not None and "error" in operation:
            raise DeployFailed(f"the function was not deployed: {operation['error'].get('message')}")
        function = self._api.get(desired.name)
        if function is not None and function.get("labels", {}).get(body.ATTEMPT) == desired.attempt:
            return self._finish(desired, function, previous)
        if operation is not None:
            raise StaleError(
                f"{desired.name}: somebody else has deployed or deleted it meanwhile; plan again"
            )
        if function is not None and function["state"] in ("DEPLOYING", "DELETING"):
            return Waiting(why="another operation is at work on the function", seconds=BUILD_SECONDS)
        return self._begin(desired, wanted, function, previous, log)

    def _begin(
        self,
        desired: Desired,
        wanted: Function,
        function: Function | None,
        previous: Observed | None,
        log: Log,
    ) -> Progress:
        """Send the package and start its build, if the function is still as it was.

        :raises StaleError: it is not
        """
        if desired.package is None:
            raise InputError(f"{desired.name}: there is no package to deploy")
        service = self._service(function)
        serving = version_of(service) if service else ""
        if (function is None) != (previous is None) or (previous and previous.version != serving):
            before = "(nothing)" if previous is None else previous.version or "nothing"
            raise StaleError(f"{desired.name}: {serving or 'nothing'} serves, where {before} did; plan again")
        if serving and (waiting := self._run.route(service, traffic_of(serving))):
            return waiting
        log(f"{desired.name}: building {desired.artifact}; {serving or 'nothing'} serves")
        source = {"storageSource": self._api.upload(desired.package)}
        made = {**wanted, "buildConfig": {**wanted["buildConfig"], "source": source}}
        if function is None:
            self._api.create(desired.name, made)
        else:
            made["labels"] = _kept(function) | wanted["labels"]
            self._api.patch(desired.name, made, body.paths(made))
        return Waiting(why="Cloud Functions begins to build", seconds=BUILD_SECONDS)

    def _finish(self, desired: Desired, function: Function, previous: Observed | None) -> Progress:
        state = function["state"]
        if state in ("DEPLOYING", "DELETING"):
            return Waiting(why=f"the function is {state}", seconds=BUILD_SECONDS)
        if state != "ACTIVE":
            raise DeployFailed(f"the function is {state}: {body.failure(function)}")
        version = short(function["serviceConfig"].get("revision", ""))
        service = self._service(function)
        if service is None or not body.is_latest(function, version):
            raise DeployFailed("Cloud Functions has made no new revision")
        if waiting := self._run.show(service, version, previous, desired.attempt):
            return waiting
        invokers = desired.known_options().get("invokers")
        if isinstance(invokers, Sequence):
            self._run.invite(service.name, invokers)
        return Ready(version=version, details={"url": service.uri, "package": desired.artifact})

    def _restore(self, name: str, previous: Observed | None, log: Log) -> Progress:
        function = self._api.get(name)
        if previous is None:
            labels = function.get("labels", {}) if function else {}
            if function is not None and labels.get(body.CREATED) != labels.get(body.ATTEMPT, "-"):
                log(f"{name}: somebody else has made or changed the function meanwhile, so it stays")
                service = self._service(function)
                return Ready(version=version_of(service) if service else "")
            return self._delete(name, function)
        service = self._service(function)
        if function is None or service is None:
            if previous.version:
                raise DeployFailed(f"{name}: somebody has deleted the function; {previous.version} is gone")
            return Ready(version="")
        deployed = body.ATTEMPT in function.get("labels", {})
        return self._run.put_back(
            service,
            previous,
            lambda revision: deployed and body.is_latest(function, short(revision.name)),
            log,
        )

    def _delete(self, name: str, function: Function | None) -> Progress:
        from google.api_core.exceptions import NotFound

        if function is None:
            return Ready(version="")
        if function["state"] == "DEPLOYING":
            return Waiting(why="the function cannot be deleted while it is DEPLOYING", seconds=BUILD_SECONDS)
        if function["state"] != "DELETING":
            try:
                self._api.delete(name)
            except NotFound:
                return Ready(version="")
        return Waiting(why="the function is being deleted")

    def _observed(self, function: Function) -> Observed:
        """What the revision with most traffic was made from; a split has no stamp, so a plan repairs it."""
        service = self._service(function)
        if service is None:
            return Observed(version="")
        version = version_of(service)
        invokers = self._run.invokers(service.name)
        options: dict[str, Option] = {} if invokers is None else {"invokers": invokers}
        first = next(iter(shares_of(version)), "")
        revision = self._run.revision(service.name, first) if first else None
        if revision is None:
            return Observed(version=version, options=options)
        artifact, config = body.made_from(function, first)
        options |= body.build_options(function, first)
        found = options_of(service, revision)
        return Observed(
            version=version,
            artifact=artifact,
            config=None if "=" in version else config,
            environment=body.own_environment(
                plain_environment(revision.containers[0].env), self._api.project
            ),
            options={key: value for key, value in found.items() if key in self.options} | options,
        )

    def _service(self, function: Function | None) -> Any:
        """The Cloud Run service of a function, None when there is none (yet)."""
        name = (function or {}).get("serviceConfig", {}).get("service", "")
        return self._run.get(name) if name else None

    def _service_name(self, name: str) -> str:
        """:raises DeployFailed: the function is gone"""
        function = self._api.get(name)
        service: str = (function or {}).get("serviceConfig", {}).get("service", "")
        if not service:
            raise DeployFailed(f"the function {name} is gone")
        return service


def _kept(function: Mapping[str, Any]) -> dict[str, str]:
    """The labels that others have set, and who has made the function."""
    labels: dict[str, str] = function.get("labels", {})
    return {
        key: value for key, value in labels.items() if not key.startswith("triplane-") or key == body.CREATED
    }


def _stage(operation: Mapping[str, Any]) -> str:
    """What Google is doing, in its words."""
    stages = operation.get("metadata", {}).get("stages", [])
    working = [each for each in stages if each.get("state") == "IN_PROGRESS"]
    found = working[0] if working else {}
    return f"Cloud Functions is at work: {found.get('name', 'DEPLOYING')} {found.get('message', '')}".strip()
