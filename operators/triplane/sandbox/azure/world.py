"""The resources of one subscription, and the operations that are still running on them."""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from triplane.sandbox.azure.errors import ArmError

Resource = dict[str, Any]
# The storage account of the registries' tasks, which customers never see by name.
TASKS_ACCOUNT = "acrtaskssandbox"


@dataclass(frozen=True)
class Settings:
    """What the server is started with; ``prepare`` writes it, private, into the sandbox's home."""

    port: int
    home: str
    contract: str
    subscription: str
    tenant: str
    client_id: str
    client_secret: str
    key: str
    state_account: str
    state_key: str
    tasks_key: str = ""
    blobs: str = ""
    gate: str = ""
    registry: str = ""
    proxy: str = ""
    ca: str = ""
    operation_seconds: float = 0.6

    @classmethod
    def read(cls, file: Path) -> Settings:
        return cls(**json.loads(file.read_text()))


@dataclass(kw_only=True)
class Operation:
    """A running change of one resource. ``finish`` is called once, when its time has come."""

    id: str
    resource: str
    ready_at: float
    finish: Callable[[ArmError | None], None]
    error: ArmError | None = None
    status: Literal["InProgress", "Succeeded", "Failed"] = "InProgress"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class World:
    """Everything that exists. Identifiers are compared without regard to case, and kept as first written."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.operations: dict[str, Operation] = {}
        self.settlers: list[Callable[[], None]] = []
        self._file = Path(settings.home) / "resources.json"
        self._resources: dict[str, Resource] = (
            json.loads(self._file.read_text()) if self._file.exists() else {}
        )

    def get(self, identity: str) -> Resource | None:
        """A copy of the resource, None if there is none."""
        return copy.deepcopy(self._resources.get(identity.lower()))

    def put(self, identity: str, resource: Resource) -> None:
        self._resources[identity.lower()] = copy.deepcopy(resource)
        self._save()

    def delete(self, identity: str) -> None:
        """Removes the resource and all below it."""
        prefix = identity.lower()
        for key in [key for key in self._resources if key == prefix or key.startswith(f"{prefix}/")]:
            del self._resources[key]
        self._save()

    def below(self, scope: str, kind: str) -> Iterator[Resource]:
        """Copies of all resources of type ``kind`` below ``scope``, in the order of their identifiers."""
        prefix = f"{scope.lower()}/"
        for key in sorted(self._resources):
            if key.startswith(prefix) and self._resources[key]["type"].lower() == kind.lower():
                yield copy.deepcopy(self._resources[key])

    def find(self, kind: str, name: str) -> Resource | None:
        """The resource of this type and globally unique name."""
        found = self.below(f"/subscriptions/{self.settings.subscription}", kind)
        return next((item for item in found if item["name"].lower() == name.lower()), None)

    def secret(self, name: str) -> bytes:
        """A secret that stays the same for this name as long as the sandbox lives."""
        return hmac.digest(self.settings.key.encode(), name.lower().encode(), hashlib.sha512)

    def identity(self, name: str) -> str:
        """A UUID that stays the same for this name."""
        return str(uuid.UUID(bytes=self.secret(f"identity {name}")[:16], version=4))

    def start(
        self, resource: str, finish: Callable[[ArmError | None], None], error: ArmError | None
    ) -> Operation:
        """Begins an operation that ends some hundred milliseconds from now, with ``error`` if given."""
        ready_at = time.monotonic() + self.settings.operation_seconds
        operation = Operation(
            id=str(uuid.uuid4()), resource=resource, ready_at=ready_at, finish=finish, error=error
        )
        self.operations[operation.id] = operation
        return operation

    def running(self, resource: str) -> bool:
        """Whether an operation still changes this resource."""
        return any(
            operation.status == "InProgress" and operation.resource.lower() == resource.lower()
            for operation in self.operations.values()
        )

    def settle(self) -> None:
        """Finishes the operations whose time has come, and lets what runs outside say how it stands."""
        for settle in self.settlers:
            settle()
        now = time.monotonic()
        for operation in self.operations.values():
            if operation.status == "InProgress" and operation.ready_at <= now:
                operation.status = "Failed" if operation.error else "Succeeded"
                operation.finish(operation.error)

    def _save(self) -> None:
        scratch = self._file.with_suffix(".new")
        scratch.write_text(json.dumps(self._resources))
        os.replace(scratch, self._file)
