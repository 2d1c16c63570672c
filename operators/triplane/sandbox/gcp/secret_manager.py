"""Secret Manager: secrets and their versions, with real values."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime

from triplane.sandbox.gcp.errors import ApiError, invalid
from triplane.sandbox.gcp.operations import timestamp
from triplane.sandbox.gcp.state import PROJECT, PROJECT_NUMBER, Body, Call, Handler, State

PREFIX = "secretmanager.projects.secrets"
LARGEST = 65536


class SecretManager:
    """``projects.secrets`` and ``projects.secrets.versions``."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._values: dict[str, str] = {}

    def handlers(self) -> dict[str, Handler]:
        return {
            f"{PREFIX}.create": self.create,
            f"{PREFIX}.get": lambda call: self._state.get(call.params["name"]),
            f"{PREFIX}.list": lambda call: {"secrets": self._state.below(f"{call.params['parent']}/secrets")},
            f"{PREFIX}.delete": self.delete,
            f"{PREFIX}.addVersion": self.add,
            f"{PREFIX}.versions.get": lambda call: self._state.get(self._version(call)),
            f"{PREFIX}.versions.list": self.versions,
            f"{PREFIX}.versions.access": self.access,
            f"{PREFIX}.versions.disable": self._switch("DISABLED"),
            f"{PREFIX}.versions.enable": self._switch("ENABLED"),
            f"{PREFIX}.versions.destroy": self._switch("DESTROYED"),
        }

    def create(self, call: Call) -> Body:
        name = str(call.params.get("secretId") or "")
        if not re.fullmatch(r"[\w-]{1,255}", name):
            raise invalid("secret_id", f"The Secret ID '{name}' does not match [a-zA-Z_0-9-]{{1,255}}.")
        if (
            "automatic" not in (replication := call.body.get("replication") or {})
            and "userManaged" not in replication
        ):
            raise invalid("secret.replication", "Secret.replication must be provided.")
        full = f"{call.params['parent']}/secrets/{name}"
        if full in self._state.resources:
            raise ApiError(409, f"Secret [{full}] already exists.")
        made = {"name": full, "createTime": timestamp(), "etag": '"1"'}
        self._state.resources[full] = {**call.body, **made}
        return self._state.get(full)

    def delete(self, call: Call) -> Body:
        full = call.params["name"]
        self._state.remove(full)
        for name in [name for name in self._state.resources if name.startswith(f"{full}/versions/")]:
            self._state.remove(name)
            self._values.pop(name, None)
        return {}

    def add(self, call: Call) -> Body:
        parent = call.params["parent"]
        self._state.live(parent)
        data = (call.body.get("payload") or {}).get("data", "")
        try:
            size = len(base64.b64decode(data, validate=True))
        except binascii.Error:
            raise invalid("payload.data", "Base64 decoding failed.") from None
        if not 0 < size <= LARGEST:
            raise invalid("payload.data", f"The payload must hold 1 to {LARGEST} bytes, it holds {size}.")
        full = f"{parent}/versions/{len(self._all(parent)) + 1}"
        self._values[full] = data
        self._state.resources[full] = {
            "name": full,
            "createTime": timestamp(),
            "state": "ENABLED",
            "etag": '"1"',
        }
        return self._state.get(full)

    def versions(self, call: Call) -> Body:
        parent = call.params["parent"]
        self._state.live(parent)
        return {"versions": list(reversed(self._all(parent)))}

    def access(self, call: Call) -> Body:
        full = self._version(call)
        if (state := self._state.live(full)["state"]) != "ENABLED":
            raise ApiError(400, f"Secret Version [{full}] is in {state} state.", status="FAILED_PRECONDITION")
        data = self._values[full]
        payload = {"data": data, "dataCrc32c": str(_crc32c(base64.b64decode(data)))}
        return {
            "name": full.replace(f"projects/{PROJECT}/", f"projects/{PROJECT_NUMBER}/", 1),
            "payload": payload,
        }

    def _switch(self, state: str) -> Handler:
        def switch(call: Call) -> Body:
            version = self._state.live(self._version(call))
            if version["state"] == "DESTROYED":
                raise ApiError(400, "The version is destroyed.", status="FAILED_PRECONDITION")
            version["state"] = state
            if state == "DESTROYED":
                version["destroyTime"] = datetime.now(UTC).isoformat()
            return self._state.get(version["name"])

        return switch

    def _version(self, call: Call) -> str:
        secret, _, version = str(call.params["name"]).rpartition("/versions/")
        self._state.live(secret)
        if version == "latest":
            if not (known := self._all(secret)):
                raise ApiError(404, f"Secret [{secret}] not found or has no versions.")
            return str(known[-1]["name"])
        return f"{secret}/versions/{version}"

    def _all(self, secret: str) -> list[Body]:
        found = self._state.below(f"{secret}/versions")
        return sorted(found, key=lambda item: int(item["name"].rpartition("/")[2]))


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
