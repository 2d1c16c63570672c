"""Azure Resource Manager: tokens, resources by id, long-running operations."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from triplane.sandbox.providers.http import Reply, Request, send, wait
from triplane.sandbox.providers.schema import CloudError, State

LOGIN, MANAGEMENT = "login.microsoftonline.com", "management.azure.com"
FAILED = ("Failed", "Canceled")
SUPPORTED = re.compile(r"supported api-versions are '([^']+)'")


@dataclass(frozen=True)
class Azure:
    """One subscription, with an access token. ``versions`` remembers the api-version of each namespace."""

    subscription: str
    tenant: str
    token: str
    versions: dict[str, str] = field(default_factory=dict)

    def id(self, group: str, kind: str, *names: str) -> str:
        """The id of a resource: ``kind`` is ``Namespace/type`` or ``Namespace/type/subtype``."""
        namespace, *types = kind.split("/")
        pairs = "/".join(f"{part}/{name}" for part, name in zip(types, names, strict=True))
        return f"/subscriptions/{self.subscription}/resourceGroups/{group}/providers/{namespace}/{pairs}"

    def call(self, method: str, resource: str, body: Any = None, version: str = "") -> Reply:
        """Call the manager about ``resource``. A version that it does not serve is replaced by its newest."""
        namespace = resource.partition("/providers/")[2].partition("/")[0]
        chosen = self.versions.get(namespace, version)
        try:
            return self._send(method, f"{resource}?{urlencode({'api-version': chosen})}", body)
        except CloudError as error:
            supported = SUPPORTED.search(str(error))
            if supported is None or namespace in self.versions:
                raise
            self.versions[namespace] = supported[1].split(", ")[-1]
        return self.call(method, resource, body)

    def get(self, resource: str, version: str) -> dict[str, Any]:
        """The resource as it is."""
        return dict(self.call("GET", resource, None, version).json())

    def act(self, method: str, resource: str, body: Any = None, version: str = "") -> None:
        """Call the manager and wait until what it started is done."""
        reply = self.call(method, resource, body, version)
        operation, result = (reply.headers.get(name, "") for name in ("azure-asyncoperation", "location"))
        if operation:
            wait(lambda: self._finished(operation, f"{method} {resource}"), resource)
        elif reply.status == 202 and result:
            wait(lambda: self._follow(result).status != 202, resource)

    def _finished(self, url: str, what: str) -> bool:
        status = self._follow(url).json()
        if status["status"] in FAILED:
            error = status.get("error") or {}
            raise CloudError(f"{what}: {error.get('code', status['status'])}: {error.get('message', '')}")
        return bool(status["status"] == "Succeeded")

    def _follow(self, url: str) -> Reply:
        parts = urlsplit(url)
        return self._send("GET", f"{parts.path}?{parts.query}")

    def _send(self, method: str, path: str, body: Any = None) -> Reply:
        headers = {"authorization": f"Bearer {self.token}"}
        data = b""
        if body is not None:
            data, headers["content-type"] = json.dumps(body).encode(), "application/json"
        request = Request(method=method, host=MANAGEMENT, path=path, headers=headers, body=data)
        return send(request, _explain)


def connect(config: State) -> Azure:
    """From the provider's arguments and the environment. CloudError when something is missing or refused."""
    names = ("subscription_id", "tenant_id", "client_id", "client_secret")
    values = {name: config.get(name) or os.environ.get(f"ARM_{name.upper()}") for name in names}
    if missing := [name for name, value in values.items() if not value]:
        raise CloudError(
            f"no {', '.join(missing)}: set {', '.join(f'ARM_{name.upper()}' for name in missing)}"
        )
    form = {
        "grant_type": "client_credentials",
        "client_id": values["client_id"],
        "client_secret": values["client_secret"],
        "scope": f"https://{MANAGEMENT}/.default",
    }
    tenant = str(values["tenant_id"])
    request = Request(
        method="POST",
        host=LOGIN,
        path=f"/{tenant}/oauth2/v2.0/token",
        headers={"content-type": "application/x-www-form-urlencoded"},
        body=urlencode(form).encode(),
    )
    answer = send(request, _explain).json()
    return Azure(str(values["subscription_id"]), tenant, str(answer["access_token"]))


def part(resource: str, name: str) -> str:
    """What follows ``name`` in a resource's id, such as the name of its group."""
    found = re.search(rf"/{name}/([^/]+)", resource, re.IGNORECASE)
    return found[1] if found else ""


def same_place(known: Any, location: str) -> str:
    """``known`` if it means ``location``: Azure takes ``West Europe`` for ``westeurope``."""
    spelt = str(known or "")
    return spelt if spelt.replace(" ", "").lower() == location.replace(" ", "").lower() else location


def common(state: State, found: Mapping[str, Any]) -> State:
    """Name, group, location and tags, which every resource has."""
    return {
        "location": same_place(state["location"], found.get("location", "")),
        "name": found["name"],
        "resource_group_name": part(state["id"], "resourceGroups"),
        "tags": found.get("tags") or {},
    }


def present(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are not None."""
    return {key: value for key, value in fields.items() if value is not None}


COMMON = {
    "id": "optional computed string",
    "location": "required string replace",
    "name": "required string replace",
    "resource_group_name": "required string replace",
    "tags": "optional map(string)",
}


def _explain(reply: Reply) -> str:
    try:
        answer = reply.json()
        error = answer["error"]
        if isinstance(error, str):
            return f"{error}: {answer.get('error_description', '')}"
        return f"{error['code']}: {error['message']}"
    except (ValueError, KeyError, TypeError):
        return reply.body[:300].decode(errors="replace")
