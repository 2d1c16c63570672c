"""Long-running operations: started now, finished a moment later, in the form of each API."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from triplane.sandbox.gcp.errors import ApiError, not_found

Style = Literal["longrunning", "compute", "container", "sql"]
Finish = Callable[[], dict[str, Any] | None]


@dataclass
class Operation:
    """``finish`` does the work when ``due``; it returns the resource, or raises ApiError."""

    name: str
    style: Style
    verb: str
    target: str
    finish: Finish
    due: float
    context: dict[str, Any]
    started: str = field(default_factory=lambda: timestamp())
    ended: str = ""
    result: dict[str, Any] | None = None
    error: ApiError | None = None

    def settle(self) -> None:
        """Do the work if it is due and not done."""
        if self.ended or time.monotonic() < self.due:
            return
        try:
            self.result = self.finish()
        except ApiError as error:
            self.error = error
        self.ended = timestamp()

    def body(self) -> dict[str, Any]:
        """The operation as its API shows it."""
        return {
            "longrunning": _longrunning, "compute": _compute, "container": _container, "sql": _sql,
        }[self.style](self)  # fmt: skip


class Operations:
    """All operations, by full name; ``delay`` is how long one takes, in seconds.

    ``failure`` is what the work of the request at hand shall end in, for who lets a test order that.
    """

    def __init__(self, delay: float = 0.3) -> None:
        self.delay = delay
        self.failure: ApiError | None = None
        self._all: dict[str, Operation] = {}

    def start(
        self,
        prefix: str,
        style: Style,
        verb: str,
        target: str,
        finish: Finish,
        **context: Any,
    ) -> dict[str, Any]:
        """Start one below ``prefix`` (``projects/p/locations/l``) and return its body."""
        name = f"{prefix}/operations/{_identity(style)}"
        due = time.monotonic() + self.delay
        operation = Operation(name, style, verb, target, finish, due, context)
        self._all[name] = operation
        return operation.body()

    def settle(self) -> None:
        """Finish everything that is due, in the order in which it was started."""
        for operation in list(self._all.values()):
            operation.settle()

    def get(self, name: str) -> dict[str, Any]:
        if name not in self._all:
            raise not_found(name)
        return self._all[name].body()

    def wait(self, name: str) -> dict[str, Any]:
        """The operation when it is done; it takes no longer than ``delay``."""
        if name not in self._all:
            raise not_found(name)
        time.sleep(max(0.0, self._all[name].due - time.monotonic()))
        self.settle()
        return self.get(name)

    def below(self, prefix: str) -> list[dict[str, Any]]:
        return [op.body() for name, op in self._all.items() if name.startswith(f"{prefix}/operations/")]


def timestamp() -> str:
    """Now, as Google writes it."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _identity(style: Style) -> str:
    if style == "compute":
        return f"operation-{int(time.time() * 1000)}-{uuid.uuid4().hex[:16]}"
    if style == "container":
        return f"operation-{int(time.time() * 1000)}-{uuid.uuid4()}"
    return str(uuid.uuid4())


def _longrunning(op: Operation) -> dict[str, Any]:
    body: dict[str, Any] = {"name": op.name, "done": bool(op.ended)}
    if metadata := op.context.get("metadata"):
        body["metadata"] = metadata
    if op.error:
        code = {400: 3, 404: 5, 409: 6, 412: 9}.get(op.error.code, 13)
        body["error"] = {"code": code, "message": op.error.message}
    elif op.ended:
        body["response"] = {"@type": op.context["type"], **(op.result or {})}
    return body


def _compute(op: Operation) -> dict[str, Any]:
    scope, _, identity = op.name.rpartition("/operations/")
    root = "https://www.googleapis.com/compute/v1"
    body: dict[str, Any] = {
        "kind": "compute#operation",
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, op.name).int % 10**19),
        "name": identity,
        "operationType": op.verb,
        "targetLink": f"{root}/{op.target}",
        "selfLink": f"{root}/{scope}/operations/{identity}",
        "status": "DONE" if op.ended else "RUNNING",
        "progress": 100 if op.ended else 0,
        "insertTime": op.started,
        "startTime": op.started,
        "user": op.context["user"],
    }
    if "/regions/" in scope:
        body["region"] = f"{root}/{scope}"
    if op.ended:
        body["endTime"] = op.ended
    if op.error:
        body |= {"httpErrorStatusCode": op.error.code, "httpErrorMessage": op.error.status}
        body["error"] = {"errors": [{"code": op.error.status, "message": op.error.message}]}
    return body


def _container(op: Operation) -> dict[str, Any]:
    scope, _, identity = op.name.rpartition("/operations/")
    root = "https://container.googleapis.com/v1"
    body = {
        "name": identity,
        "operationType": op.verb,
        "status": "DONE" if op.ended else "RUNNING",
        "targetLink": f"{root}/{op.target}",
        "selfLink": f"{root}/{op.name}",
        "location": scope.rpartition("/")[2],
        "zone": scope.rpartition("/")[2],
        "startTime": op.started,
    }
    if op.ended:
        body["endTime"] = op.ended
    if op.error:
        body["error"] = {"code": 13, "message": op.error.message}  # type: ignore[assignment]
    return body


def _sql(op: Operation) -> dict[str, Any]:
    scope, _, identity = op.name.rpartition("/operations/")
    body: dict[str, Any] = {
        "kind": "sql#operation",
        "name": identity,
        "operationType": op.verb,
        "status": "DONE" if op.ended else "RUNNING",
        "targetId": op.target.rpartition("/")[2],
        "targetProject": scope.rpartition("/")[2],
        "targetLink": f"https://sqladmin.googleapis.com/sql/v1beta4/{op.target}",
        "selfLink": f"https://sqladmin.googleapis.com/sql/v1beta4/{op.name}",
        "insertTime": op.started,
        "user": op.context["user"],
    }
    if op.ended:
        body["endTime"] = op.ended
    if op.error:
        body["error"] = {"errors": [{"code": op.error.status, "message": op.error.message}]}
    return body
