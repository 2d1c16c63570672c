"""Cloud Run services: every change of the template makes a revision, and only a ready one gets traffic."""

from __future__ import annotations

import copy
import re
from typing import Any

from triplane.sandbox.gcp.errors import ApiError, bad_request, invalid
from triplane.sandbox.gcp.operations import timestamp
from triplane.sandbox.gcp.revisions import Revisions, condition
from triplane.sandbox.gcp.run_checks import LATEST, check_template, check_traffic, defaults
from triplane.sandbox.gcp.state import Body, Call, Handler, State, etag, merge

PREFIX = "run.projects.locations"
TYPE = "type.googleapis.com/google.cloud.run.v2.Service"
OWN = {
    "name", "uid", "generation", "createTime", "updateTime", "creator", "lastModifier", "etag", "uri", "urls",
    "latestReadyRevision", "latestCreatedRevision", "trafficStatuses", "conditions", "terminalCondition",
    "observedGeneration", "reconciling", "deleteTime",
}  # fmt: skip


class Run:
    """``projects.locations.services`` with their revisions and operations."""

    def __init__(self, state: State, revisions: Revisions) -> None:
        self._state = state
        self._revisions = revisions

    def handlers(self) -> dict[str, Handler]:
        return {
            f"{PREFIX}.services.create": self.create,
            f"{PREFIX}.services.get": lambda call: self._state.get(call.params["name"]),
            f"{PREFIX}.services.list": lambda call: {
                "services": self._state.below(f"{call.params['parent']}/services")
            },
            f"{PREFIX}.services.patch": self.patch,
            f"{PREFIX}.services.delete": self.delete,
            f"{PREFIX}.operations.get": lambda call: self._state.operations.get(call.params["name"]),
            f"{PREFIX}.operations.wait": lambda call: self._state.operations.wait(call.params["name"]),
            f"{PREFIX}.operations.list": lambda call: {
                "operations": self._state.operations.below(call.params["name"])
            },
            **self._revisions.handlers(),
        }

    def create(self, call: Call) -> Body:
        identity = call.params.get("serviceId", "")
        if not re.fullmatch(r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?", identity):
            raise invalid("service_id", f"Invalid service_id '{identity}'.")
        full = f"{call.params['parent']}/services/{identity}"
        self._state.require_absent(full)
        return self._apply(full, None, _input(call.body), call)

    def patch(self, call: Call) -> Body:
        full = call.params["name"]
        current = self._state.resources.get(full)
        if current is None:
            if call.params.get("allowMissing"):
                return self._apply(full, None, _input(call.body), call)
            self._state.live(full)
        assert current is not None
        _check_etag(current, call.body.get("etag"))
        mask = call.params.get("updateMask")
        wanted = _input(current) if mask else {}
        merge(wanted, _input(call.body), mask)
        return self._apply(full, current, wanted, call)

    def delete(self, call: Call) -> Body:
        full = call.params["name"]
        current = self._state.live(full)
        _check_etag(current, call.params.get("etag"))
        current["deleteTime"] = timestamp()

        def finish() -> Body:
            return self.remove(full)

        return self._start("delete", full, finish)

    def remove(self, full: str) -> Body:
        """Remove the service with its revisions and its policy."""
        for name in [name for name in self._state.resources if name.startswith(f"{full}/revisions/")]:
            self._state.remove(name)
        self._state.policies.pop(full, None)
        return self._state.remove(full)

    def bring_up(self, full: str, wanted: Body, caller: str) -> str:
        """Make or update a service at once, as Cloud Functions does; returns its new revision's short name.

        Raises ApiError when the revision does not get ready.
        """
        current = self._state.resources.get(full)
        merged = {**_input(current or {}), **copy.deepcopy(wanted)}
        revision, generation = self._write(full, current, merged, caller, {})
        self._reconcile(full, revision, generation)
        return revision

    def _apply(self, full: str, current: Body | None, wanted: Body, call: Call) -> Body:
        """Write down what is wanted, make its revision, and let an operation bring it about."""
        if call.params.get("validateOnly"):
            self._checked(full, wanted, call.params)
            return self._start("validate", full, lambda: {**wanted, "name": full})
        if current is not None and current.get("deleteTime"):
            raise ApiError(409, f"Service '{full}' is being deleted.", status="ABORTED")
        revision, generation = self._write(full, current, wanted, call.caller, call.params)
        ordered = self._state.operations.failure
        return self._start("update", full, lambda: self._reconcile(full, revision, generation, ordered))

    def _checked(self, full: str, wanted: Body, params: Body) -> tuple[Body, str]:
        """What is wanted with all defaults, and the name of its revision. Raises 400."""
        wanted = defaults(copy.deepcopy(wanted))
        if problems := check_template(wanted):
            raise bad_request(problems)
        revision = self._revisions.wanted(full, wanted["template"], force=params.get("forceNewRevision"))
        check_traffic(wanted["traffic"], {*self._revisions.names(full), revision})
        return wanted, revision

    def _write(
        self, full: str, current: Body | None, wanted: Body, caller: str, params: Body
    ) -> tuple[str, str]:
        """Write down what is wanted and make its revision; returns the revision's name and the generation."""
        wanted, revision = self._checked(full, wanted, params)
        self._revisions.make(full, revision, wanted["template"], caller)
        service = self._service(full, current, wanted, revision, caller)
        self._state.resources[full] = service
        return revision, service["generation"]

    def _service(self, full: str, current: Body | None, wanted: Body, revision: str, caller: str) -> Body:
        now = timestamp()
        old = current or {}
        generation = str(int(old.get("generation", "0")) + 1)
        body = {
            **wanted,
            "name": full,
            "uid": old.get("uid") or self._revisions.uid(),
            "generation": generation,
            "createTime": old.get("createTime", now),
            "updateTime": now,
            "creator": old.get("creator", caller),
            "lastModifier": caller,
            "latestCreatedRevision": f"{full}/revisions/{revision}",
            "trafficStatuses": old.get("trafficStatuses", []),
            "terminalCondition": condition("Ready", "CONDITION_RECONCILING"),
            "conditions": [
                condition("RoutesReady", "CONDITION_PENDING"),
                condition("ConfigurationsReady", "CONDITION_PENDING"),
            ],
            "observedGeneration": old.get("observedGeneration", "0"),
            "reconciling": True,
            "uri": old.get("uri") or _uri(full),
            "urls": [old.get("uri") or _uri(full)],
        }
        if "latestReadyRevision" in old:
            body["latestReadyRevision"] = old["latestReadyRevision"]
        return {**body, "etag": etag(body)}

    def _reconcile(self, full: str, revision: str, generation: str, ordered: ApiError | None = None) -> Body:
        """Bring the revision up; move the traffic if it got ready. Raises ApiError when it did not.

        ``ordered`` is a failure that a test wants.
        """
        failure = self._revisions.start(full, revision, ordered.message if ordered else None)
        service = self._state.live(full)
        if failure is None:
            service["latestReadyRevision"] = f"{full}/revisions/{revision}"
        routes = self._route(full, service)
        if service["generation"] == generation:
            _conclude(service, failure, routes)
        if failure or routes:
            raise ApiError(404 if failure else 412, str(failure or routes))
        return self._state.get(full)

    def _route(self, full: str, service: Body) -> str | None:
        """Set the traffic statuses, unless a target is not ready: then they stay, and the reason is returned."""
        statuses: list[dict[str, Any]] = []
        for target in service["traffic"]:
            latest = target.get("type") == LATEST
            name = target.get("revision") or service.get("latestReadyRevision", "").rpartition("/")[2]
            if not name or not self._revisions.ready(full, name):
                return f"Revision '{name or 'latest'}' is not ready and cannot serve traffic."
            status = {**target} if latest else {**target, "revision": name}
            if target.get("tag"):
                status["uri"] = service["uri"].replace("https://", f"https://{target['tag']}---")
            statuses.append(status)
        service["trafficStatuses"] = statuses
        return None

    def _start(self, verb: str, full: str, finish: Any) -> Body:
        parent = full.rpartition("/services/")[0]
        metadata = {"@type": TYPE, **self._state.resources.get(full, {"name": full})}
        operations = self._state.operations
        return operations.start(parent, "longrunning", verb, full, finish, type=TYPE, metadata=metadata)


def _conclude(service: Body, failure: str | None, routes: str | None) -> None:
    """The conditions after everything that this generation asked for was tried."""
    ready = "CONDITION_FAILED" if failure or routes else "CONDITION_SUCCEEDED"
    service["terminalCondition"] = condition("Ready", ready, failure or routes)
    service["conditions"] = [
        condition("RoutesReady", "CONDITION_FAILED" if routes else "CONDITION_SUCCEEDED", routes),
        condition("ConfigurationsReady", "CONDITION_FAILED" if failure else "CONDITION_SUCCEEDED", failure),
    ]
    service |= {"observedGeneration": service["generation"], "reconciling": False}
    service["etag"] = etag(service)


def _input(body: Body) -> Body:
    return {key: copy.deepcopy(value) for key, value in body.items() if key not in OWN}


def _check_etag(current: Body, given: str | None) -> None:
    if given and given != current["etag"]:
        text = "ABORTED: The service was changed since it was read (etag mismatch)."
        raise ApiError(409, text, status="ABORTED")


def _uri(full: str) -> str:
    """``https://NAME-HASH-REGION.a.run.app``; ew is europe-west1's short name."""
    _, project, _, location, _, name = full.split("/")
    first, second = location.split("-")[:2]
    suffix = "".join(character for character in etag({"project": project}) if character.isalnum())[:10]
    return f"https://{name}-{suffix}-{first[0]}{second[0]}.a.run.app"
