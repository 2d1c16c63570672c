"""Key vaults: secrets and their versions, behind Key Vault's own way to ask for a token.

A vault is there once something has been put into it.
"""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

from aiohttp import web

from triplane.sandbox.azure.arm import bearer
from triplane.sandbox.azure.errors import ArmError
from triplane.sandbox.azure.tokens import AUTHORITY, Directory

SUFFIX = ".vault.azure.net"
AUDIENCES = frozenset({"https://vault.azure.net", "https://vault.azure.net/"})
VERSIONS = ("7.0", "7.1", "7.2", "7.3", "7.4", "7.5", "7.6", "2025-07-01", "2026-04-01")
LARGEST = 25600
Secret = dict[str, Any]


class Vaults:
    """All vaults of the subscription, by name."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._vaults: dict[str, dict[str, list[Secret]]] = {}

    async def handle(self, vault: str, request: web.Request) -> web.Response:
        """Answers one request. Raises ArmError."""
        try:
            bearer(self._directory, request.headers.get("Authorization", ""), AUDIENCES)
        except ArmError as error:
            challenge = f'Bearer authorization="{AUTHORITY}/{self._directory.tenant}", resource="https://vault.azure.net"'
            raise ArmError(401, "Unauthorized", error.message, {"WWW-Authenticate": challenge}) from None
        if (version := request.query.get("api-version")) not in VERSIONS:
            raise ArmError(400, "BadParameter", f"The api-version {version!r} is not supported.")
        match [request.method, *request.path.strip("/").split("/")]:
            case ["PUT", "secrets", name]:
                return web.json_response(self._set(vault, name, await request.json()))
            case ["GET", "secrets", name, "versions"]:
                shown = [_properties(item) for item in self._found(vault, name)]
                return web.json_response({"value": shown, "nextLink": None})
            case ["GET", "secrets", name, *rest] if len(rest) < 2:
                return web.json_response(self._get(vault, name, "".join(rest)))
            case ["PATCH", "secrets", name, version]:
                return web.json_response(self._update(vault, name, version, await request.json()))
        raise ArmError(
            501, "NotImplemented", f"The sandbox's vaults have no {request.method} {request.path}."
        )

    def _set(self, vault: str, name: str, body: Any) -> Secret:
        if not re.fullmatch(r"[0-9a-zA-Z-]{1,127}", name):
            raise ArmError(400, "BadParameter", f"The request URI contains an invalid name: {name}")
        value = body.get("value") if isinstance(body, dict) else None
        if not isinstance(value, str) or len(value) > LARGEST:
            raise ArmError(
                400, "BadParameter", f"Property value must be a text of at most {LARGEST} characters."
            )
        if unknown := set(body) - {"value", "tags", "contentType", "attributes"}:
            raise ArmError(400, "BadParameter", f"Property {sorted(unknown)[0]} is not known.")
        now = int(time.time())
        given = body.get("attributes") or {}
        attributes = {
            "enabled": True,
            "created": now,
            "updated": now,
            "recoveryLevel": "Recoverable",
            **given,
        }
        kept = self._vaults.setdefault(vault, {}).setdefault(name, [])
        number = uuid.uuid4().hex
        made = {
            "value": value,
            "id": f"https://{vault}{SUFFIX}/secrets/{name}/{number}",
            "attributes": attributes,
        }
        kept.append(made)
        return made

    def _get(self, vault: str, name: str, version: str) -> Secret:
        found = [item for item in self._found(vault, name) if version in ("", item["id"].rpartition("/")[2])]
        if not found:
            raise _missing(f"{name}/{version}")
        if not found[-1]["attributes"]["enabled"]:
            raise ArmError(403, "Forbidden", "Operation get is not allowed on a disabled secret.")
        return found[-1]

    def _update(self, vault: str, name: str, version: str, body: Any) -> Secret:
        found = next((item for item in self._found(vault, name) if item["id"].endswith(f"/{version}")), None)
        if found is None:
            raise _missing(f"{name}/{version}")
        found["attributes"] |= body.get("attributes") or {}
        return _properties(found)

    def _found(self, vault: str, name: str) -> list[Secret]:
        found = self._vaults.get(vault, {}).get(name)
        if not found:
            raise _missing(name)
        return found


def _properties(secret: Secret) -> Secret:
    return {key: value for key, value in secret.items() if key != "value"}


def _missing(name: str) -> ArmError:
    message = f"A secret with (name/id) {name} was not found in this key vault."
    return ArmError(404, "SecretNotFound", message)
