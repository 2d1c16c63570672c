"""Cloud Run services and their revisions, one call at a time: traffic, tags, who may invoke. Waits for nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from triplane.core.errors import InputError, StaleError
from triplane.serverless.google.api import CALL
from triplane.serverless.google.cloud_run_traffic import (
    Targets,
    foreign_tags,
    own_tag,
    same,
    shared,
    shares_of,
    tag_for,
    targets,
    version_of,
)
from triplane.serverless.google.logs import CloudLogs
from triplane.serverless.target import Answer, DeployFailed, Log, Observed, Progress, Ready, Smoke, Waiting

INVOKER: Final = "roles/run.invoker"
ROUTE_SECONDS: Final = 2.0
IdToken = Callable[[str], str | None]


class CloudRunServices:
    """``services`` and ``revisions`` are ``google.cloud.run_v2`` clients; a service goes by its full name.

    ``id_token`` gives a token for an audience, None if there is none to be had. ``logs`` is where to read logs, if
    anywhere.
    """

    def __init__(
        self,
        services: Any,
        revisions: Any,
        id_token: IdToken | None = None,
        logs: CloudLogs | None = None,
    ) -> None:
        self._logs = logs
        self.services = services
        self.revisions = revisions
        self._id_token = id_token or (lambda audience: None)

    def get(self, full: str) -> Any:
        """The service, None when there is none."""
        from google.api_core.exceptions import NotFound

        try:
            return self.services.get_service(name=full, **CALL)
        except NotFound:
            return None

    def revision(self, full: str, name: str) -> Any:
        """The revision of that short name, None when there is none."""
        from google.api_core.exceptions import NotFound

        try:
            return self.revisions.get_revision(name=f"{full}/revisions/{name}", **CALL)
        except NotFound:
            return None

    def update(self, service: Any, fields: dict[str, Any], paths: Sequence[str]) -> None:
        """Begin to change ``paths`` of the service, if it is still as it was read. Raises Conflict if not."""
        change = {"name": service.name, "etag": service.etag, **fields}
        request = {"service": change, "update_mask": {"paths": list(paths)}}
        self.services.update_service(request=request, **CALL)

    def delete(self, full: str) -> Progress:
        """Begin to delete the service, or wait for that."""
        from google.api_core.exceptions import NotFound

        service = self.get(full)
        if service is None:
            return Ready(version="")
        if not service.delete_time:
            try:
                self.services.delete_service(name=full, **CALL)
            except NotFound:
                return Ready(version="")
        return Waiting(why="the service is being deleted", seconds=ROUTE_SECONDS)

    def route(self, service: Any, wanted: Targets) -> Waiting | None:
        """Let the traffic be ``wanted``, beside tags of others. None when it is.

        :raises DeployFailed: Cloud Run does not move it
        """
        wanted = [*wanted, *foreign_tags(service)]
        if same(service.traffic, wanted):
            # Cloud Run may complain of a newer revision that is not ready; what counts is who serves.
            if same(service.traffic_statuses, wanted):
                return None
            if not service.reconciling:
                raise DeployFailed(
                    f"the traffic of {short(service.name)} does not move: {complaint(service)}"
                )
        else:
            self.update(service, {"traffic": wanted}, ["traffic"])
        return Waiting(why="the traffic is being moved", seconds=ROUTE_SECONDS)

    def show(self, service: Any, version: str, previous: Observed | None, attempt: str) -> Waiting | None:
        """Give ``version`` a URL of its own and no traffic; all of it where nothing serves yet. None when so."""
        before = shares_of(previous.version) if previous else {}
        if not before:
            return self.route(service, targets({version: 100}))
        tag = tag_for(attempt, short(service.name))
        return self.route(service, targets(before, {version: tag} if tag else {}))

    def shift(self, full: str, version: str, percent: int, previous: Observed | None) -> Progress:
        """Give ``percent`` of the traffic to ``version`` and the rest to ``previous``.

        :raises StaleError: a revision that was made after ``version`` has got some of it
        """
        service = self.found(full)
        if strange := self._newer(service, version, previous):
            raise StaleError(f"{short(full)}: somebody else has let {', '.join(strange)} serve; plan again")
        shares = shared(version, percent, previous)
        tag = own_tag(service, version) if percent < 100 else ""
        if waiting := self.route(service, targets(shares, {version: tag} if tag else {})):
            return waiting
        told = ", ".join(f"{name} {share} %" for name, share in shares.items())
        return Ready(version=version, details={"url": service.uri, "traffic": told})

    def _newer(self, service: Any, version: str, previous: Observed | None) -> list[str]:
        """What serves, was not there when ``version`` was made, and so is somebody else's."""
        others = sorted({*shares_of(version_of(service))} - {version, *_before(previous)})
        ours = self.revision(service.name, version) if others else None
        found = [self.revision(service.name, each) for each in others]
        return [short(each.name) for each in found if each and ours and each.create_time > ours.create_time]

    def put_back(self, service: Any, previous: Observed, ours: Callable[[Any], bool], log: Log) -> Progress:
        """Let ``previous`` serve alone, open to whom it was. What somebody else lets serve meanwhile stays.

        ``ours`` tells whether a deployment has made a revision.
        """
        name = short(service.name)
        for each in sorted({*shares_of(version_of(service))} - _before(previous)):
            revision = self.revision(service.name, each)
            if revision is not None and not ours(revision):
                log(f"{name}: somebody else has let {each} serve meanwhile, so that stays")
                return Ready(version=version_of(service))
        if not previous.version:
            serving = version_of(service)
            log(
                f"{name}: nothing served before; {serving or 'nothing'} serves now, delete it if it shall not"
            )
            return Ready(version=serving)
        waiting = self.route(service, targets(shares_of(previous.version)))
        waiting = waiting or self._open_as(service, previous)
        return waiting or Ready(version=previous.version, details={"url": service.uri})

    def _open_as(self, service: Any, previous: Observed) -> Waiting | None:
        from triplane.serverless.google.cloud_run_template import INGRESS

        ingress = INGRESS.get(str(previous.options.get("ingress")))
        if ingress and service.ingress.name != ingress:
            self.update(service, {"ingress": ingress}, ["ingress"])
            return Waiting(why="the ingress is put back", seconds=ROUTE_SECONDS)
        invokers = previous.options.get("invokers")
        if isinstance(invokers, Sequence):
            self.invite(service.name, invokers)
        return None

    def invokers(self, full: str) -> list[str] | None:
        """Who may invoke the service, unconditionally; None when we may not know."""
        from google.api_core.exceptions import Forbidden

        try:
            policy = self.services.get_iam_policy(request={"resource": full}, **CALL)
        except Forbidden:
            return None
        return sorted({member for each in policy.bindings if _invites(each) for member in each.members})

    def invite(self, full: str, members: Sequence[str]) -> None:
        """Let exactly ``members`` invoke the service; raises Conflict when the policy changes meanwhile."""
        policy = self.services.get_iam_policy(request={"resource": full}, **CALL)
        now = {member for each in policy.bindings if _invites(each) for member in each.members}
        if now == set(members):
            return
        kept = [each for each in policy.bindings if not _invites(each)]
        del policy.bindings[:]
        policy.bindings.extend(kept)
        if members:
            policy.bindings.add(role=INVOKER, members=sorted(set(members)))
        self.services.set_iam_policy(request={"resource": full, "policy": policy}, **CALL)

    def invoke(self, full: str, version: str, smoke: Smoke) -> Answer:
        """One HTTPS request to the URL of ``version``'s tag, or to the service's if it has all traffic.

        :raises InputError: it has no URL of its own
        """
        import requests

        service = self.found(full)
        url = next(
            (each.uri for each in service.traffic_statuses if each.revision == version and each.uri), ""
        )
        if not url and version_of(service) == version:
            url = service.uri
        if not url:
            raise InputError(
                f"{version} has no URL of its own: {short(full)} is too long a name for a tag; "
                "shorten it or leave out the smoke test"
            )
        token = self._id_token(service.uri)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            answer = requests.request(
                smoke.method, url + smoke.path, json=smoke.payload, headers=headers,
                timeout=smoke.timeout, allow_redirects=False,
            )  # fmt: skip
        except requests.RequestException as error:
            return Answer(status=0, log=(f"{url}: {error}",))
        return Answer(status=answer.status_code, body=answer.text)

    def tail(self, full: str, version: str) -> Sequence[str]:
        """The last lines of the log of ``version``, or of what was made last."""
        service = self.get(full) if self._logs else None
        if self._logs is None or service is None:
            return ()
        return self._logs.last(short(full), version or short(service.latest_created_revision))

    def found(self, full: str) -> Any:
        """The service. :raises DeployFailed: it is gone"""
        service = self.get(full)
        if service is None:
            raise DeployFailed(f"the service {short(full)} is gone")
        return service


def short(name: str) -> str:
    return name.rpartition("/")[2]


def complaint(subject: Any) -> str:
    """Why a service or revision is not as it shall be, in Cloud Run's words."""
    conditions = [getattr(subject, "terminal_condition", None), *subject.conditions]
    failed = (each.message for each in conditions if each and each.state.name == "CONDITION_FAILED")
    return next((message for message in failed if message), "Cloud Run does not say why")


def _before(previous: Observed | None) -> set[str]:
    return set(shares_of(previous.version)) if previous else set()


def _invites(binding: Any) -> bool:
    return binding.role == INVOKER and not binding.condition.expression
