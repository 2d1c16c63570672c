"""Revisions of Cloud Run services: immutable copies of a template, ready when their images exist."""

from __future__ import annotations

import copy
import secrets
import string
import uuid
from collections.abc import Callable

from triplane.sandbox.gcp.errors import ApiError, conflict, invalid
from triplane.sandbox.gcp.operations import timestamp
from triplane.sandbox.gcp.state import Body, Call, Handler, State, etag

PREFIX = "run.projects.locations.services.revisions"
TYPE = "type.googleapis.com/google.cloud.run.v2.Revision"


class Revisions:
    """``find_image`` tells the digest of an image, None when no registry has it; ``start_failure`` why a
    revision's container does not start, None when it does.
    """

    def __init__(
        self,
        state: State,
        find_image: Callable[[str], str | None],
        start_failure: Callable[[Body], str | None] = lambda body: None,
    ) -> None:
        self._state = state
        self._find_image = find_image
        self._start_failure = start_failure
        self._templates: dict[str, Body] = {}

    def handlers(self) -> dict[str, Handler]:
        return {
            f"{PREFIX}.get": lambda call: self._state.get(call.params["name"]),
            f"{PREFIX}.list": self.list,
            f"{PREFIX}.delete": self.delete,
        }

    def list(self, call: Call) -> Body:
        found = self._state.below(f"{call.params['parent']}/revisions")
        newest_first = sorted(found, key=lambda body: int(body["generation"]), reverse=True)
        return {"revisions": newest_first}

    def delete(self, call: Call) -> Body:
        full = call.params["name"]
        self._state.live(full)
        service_name, _, name = full.rpartition("/revisions/")
        service = self._state.live(service_name)
        serving = {target.get("revision") for target in service["traffic"]}
        if name in serving or full in {service["latestCreatedRevision"], service.get("latestReadyRevision")}:
            raise ApiError(
                400, f"Revision '{name}' is in use and cannot be deleted.", status="FAILED_PRECONDITION"
            )
        parent = service_name.rpartition("/services/")[0]
        finish = lambda: self._state.remove(full)  # noqa: E731
        return self._state.operations.start(parent, "longrunning", "delete", full, finish, type=TYPE)

    def names(self, service: str) -> set[str]:
        """Short names of the service's revisions."""
        return {body["name"].rpartition("/")[2] for body in self._state.below(f"{service}/revisions")}

    def wanted(self, service: str, template: Body, *, force: bool | None = False) -> str:
        """Short name of the revision for ``template``: the latest one when nothing changed, or a new name."""
        short = service.rpartition("/")[2]
        latest = self._state.resources.get(service, {}).get("latestCreatedRevision", "")
        own = template.get("revision")
        if latest and not force and self._templates[latest] == _content(template):
            same = latest.rpartition("/")[2]
            if own in {None, same}:
                return str(same)
        if own is None:
            return f"{short}-{len(self.names(service)) + 1:05d}-{_suffix()}"
        if not own.startswith(f"{short}-"):
            text = f"Revision name '{own}' must be prefixed by the service name, '{short}-'."
            raise invalid("template.revision", text)
        if own in self.names(service):
            raise conflict(f"{service}/revisions/{own}")
        return str(own)

    def make(self, service: str, name: str, template: Body, caller: str) -> None:
        """Create the revision unless it exists."""
        full = f"{service}/revisions/{name}"
        if full in self._state.resources:
            return
        now = timestamp()
        body = {
            **copy.deepcopy(_content(template)),
            "name": full,
            "uid": self.uid(),
            "generation": str(len(self.names(service)) + 1),
            "createTime": now,
            "updateTime": now,
            "creator": caller,
            "service": service.rpartition("/")[2],
            "conditions": [condition("Ready", "CONDITION_PENDING")],
            "reconciling": True,
        }
        self._templates[full] = _content(template)
        self._state.resources[full] = {**body, "etag": etag(body)}

    def start(self, service: str, name: str, ordered: str | None = None) -> str | None:
        """Bring it up. Returns why it is not ready (``ordered``, if a test wants it to fail), None when it is."""
        full = f"{service}/revisions/{name}"
        if full not in self._state.resources:
            return f"Revision '{name}' was deleted."
        body = self._state.live(full)
        if not body["reconciling"]:
            return body["conditions"][0].get("message")
        missing = [each["image"] for each in body["containers"] if self._find_image(each["image"]) is None]
        failure = None
        if missing:
            failure = (
                f"Revision '{name}' is not ready and cannot serve traffic. Image '{missing[0]}' not found."
            )
        elif reason := ordered or self._start_failure(body):
            failure = f"Revision '{name}' is not ready and cannot serve traffic. {reason}"
        state = "CONDITION_FAILED" if failure else "CONDITION_SUCCEEDED"
        body["conditions"] = [
            condition("Ready", state, failure, _reason(failure, missing)),
            condition("ContainerHealthy", state, failure),
            condition("ResourcesAvailable", "CONDITION_SUCCEEDED"),
        ]
        body |= {"reconciling": False, "observedGeneration": body["generation"], "updateTime": timestamp()}
        return failure

    def ready(self, service: str, name: str) -> bool:
        body = self._state.resources.get(f"{service}/revisions/{name}")
        return body is not None and body["conditions"][0]["state"] == "CONDITION_SUCCEEDED"

    @staticmethod
    def uid() -> str:
        return str(uuid.uuid4())


def condition(type_: str, state: str, message: str | None = None, reason: str | None = None) -> Body:
    """A ``google.cloud.run.v2.Condition``."""
    body = {"type": type_, "state": state, "lastTransitionTime": timestamp()}
    if message:
        body |= {"message": message, "severity": "ERROR"}
    return body | ({"reason": reason} if reason else {})


def _reason(failure: str | None, missing: list[str]) -> str | None:
    return None if failure is None else "CONTAINER_MISSING" if missing else "HEALTH_CHECK_CONTAINER_ERROR"


def _content(template: Body) -> Body:
    return {key: value for key, value in template.items() if key != "revision"}


def _suffix() -> str:
    return "".join(secrets.choice(string.ascii_lowercase) for _ in range(3))
