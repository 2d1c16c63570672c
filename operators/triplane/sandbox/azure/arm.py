"""Azure Resource Manager: one uniform model of resources, with long-running operations."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from inspect import isawaitable
from typing import Any

import jwt
from aiohttp import web

from triplane.sandbox.azure.errors import ArmError, not_found
from triplane.sandbox.azure.faults import Faults
from triplane.sandbox.azure.kinds import ACTIONS, KINDS, WITHOUT_CONTENT, Action, Kind, shown
from triplane.sandbox.azure.schema import Contract, Target
from triplane.sandbox.azure.tokens import Directory
from triplane.sandbox.azure.world import Operation, Resource, World

BASE = "https://management.azure.com"
AUDIENCES = frozenset(
    f"{base}{slash}" for base in (BASE, "https://management.core.windows.net") for slash in ("", "/")
)
_OPERATION = re.compile(
    r"/subscriptions/[^/]+/(?:providers/[^/]+/locations/[^/]+/)?(operations|operationresults)/([^/]+)", re.I
)
Lister = Callable[[Target], list[Resource]]


def bearer(directory: Directory, authorization: str, audiences: frozenset[str] = AUDIENCES) -> dict[str, Any]:
    """The claims of a request's token. Raises ArmError 401 for one that is missing, forged, ended or for others."""
    challenge = {
        "WWW-Authenticate": 'Bearer authorization_uri="https://login.microsoftonline.com/", '
        'error="invalid_token", error_description="The access token is missing or invalid."'
    }
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise ArmError(
            401,
            "AuthenticationFailed",
            "Authentication failed. The 'Authorization' header is missing.",
            challenge,
        )
    try:
        claims = directory.claims(token)
    except jwt.ExpiredSignatureError:
        raise ArmError(
            401, "ExpiredAuthenticationToken", "The access token expiry has passed.", challenge
        ) from None
    except jwt.InvalidTokenError:
        raise ArmError(401, "InvalidAuthenticationToken", "The access token is invalid.", challenge) from None
    if claims["aud"] not in audiences:
        message = f"The access token has been obtained for wrong audience or resource '{claims['aud']}'."
        raise ArmError(401, "InvalidAuthenticationTokenAudience", message, challenge)
    return claims


class ResourceManager:
    """Serves management.azure.com. ``listers`` answer collections that are not made of stored resources,
    ``actions`` more POSTs than those of the resource types."""

    def __init__(
        self,
        world: World,
        contract: Contract,
        directory: Directory,
        faults: Faults,
        listers: Mapping[str, Lister],
        actions: Mapping[tuple[str, str], Action] | None = None,
    ) -> None:
        self._world = world
        self._contract = contract
        self._directory = directory
        self._faults = faults
        self._listers = listers
        self._actions = {**ACTIONS, **(actions or {})}

    async def handle(self, request: web.Request) -> web.Response:
        """Answers one request. Raises ArmError."""
        bearer(self._directory, request.headers.get("Authorization", ""))
        self._world.settle()
        self._check_subscription(request.path)
        if polled := _OPERATION.fullmatch(request.path):
            return self._poll(polled[1].lower(), polled[2])
        version = request.query.get("api-version")
        method = "GET" if request.method == "HEAD" and "/providers/" in request.path else request.method
        target = self._contract.match(method, request.path, version)
        self._check_group(target)
        if target.shape == "collection":
            return web.json_response({"value": self._list(target)})
        if target.shape == "action":
            return await self._act(target, request)
        self._check_match(target, request.headers.get("If-Match", "*"))
        if request.method in ("PUT", "PATCH"):
            body = await _json(request)
            return self._write(request.method, target, body, version or "")
        if request.method == "DELETE":
            return self._delete(target, version or "")
        return self._read(target, head=request.method == "HEAD")

    def _check_subscription(self, path: str) -> None:
        given = path.split("/")[2] if path.lower().startswith("/subscriptions/") else None
        if given is not None and given.lower() != self._world.settings.subscription:
            raise ArmError(404, "SubscriptionNotFound", f"The subscription '{given}' could not be found.")

    def _check_group(self, target: Target) -> None:
        inside = target.group and target.kind != "Microsoft.Resources/resourceGroups"
        if (
            inside
            and self._world.get(f"/subscriptions/{target.subscription}/resourceGroups/{target.group}") is None
        ):
            raise ArmError(
                404, "ResourceGroupNotFound", f"Resource group '{target.group}' could not be found."
            )

    def _existing(self, target: Target) -> Resource:
        resource = self._world.get(target.id)
        if resource is not None:
            return resource
        if target.kind == "Microsoft.Resources/resourceGroups":
            raise ArmError(
                404, "ResourceGroupNotFound", f"Resource group '{target.name}' could not be found."
            )
        raise not_found(target.kind, target.name, target.group or "")

    def _check_match(self, target: Target, wanted: str) -> None:
        resource = self._world.get(target.id)
        if wanted != "*" and (resource is None or wanted != _etag(resource)):
            raise ArmError(
                412,
                "PreconditionFailed",
                f"The condition '{wanted}' in the If-Match header was not satisfied for '{target.name}'.",
            )

    def _read(self, target: Target, *, head: bool) -> web.Response:
        resource = self._existing(target)
        headers = {"ETag": _etag(resource)}
        if head:
            return web.Response(status=204, headers=headers)
        return web.json_response(shown(self._world, resource), headers=headers)

    def _list(self, target: Target) -> list[Resource]:
        scope = _owner(re.split(r"/providers/[^/]+$", target.id)[0])
        nested = target.kind.count("/") > 1
        if nested and self._world.get(scope) is None:
            raise not_found(target.kind.rpartition("/")[0], target.name, target.group or "")
        if lister := self._listers.get(target.kind.lower()):
            return lister(target)
        return [shown(self._world, item) for item in self._world.below(scope, target.kind)]

    async def _act(self, target: Target, request: web.Request) -> web.Response:
        action = self._actions.get((target.kind.lower(), target.action.lower()))
        if action is None:
            raise ArmError(
                501, "NotImplemented", f"The sandbox does not serve {target.action} of {target.kind}."
            )
        fixed = target.kind.count("/") > 1 and target.name.lower() in target.kind.lower().split("/")
        owner = "/".join(target.id.split("/")[:-2]) if fixed else target.id
        if self._world.get(owner) is None:
            raise not_found(target.kind, target.name, target.group or "")
        body = await _json(request) if request.can_read_body else {}
        answer = action(self._world, target, self._contract.clean_action(target, body))
        if isawaitable(answer):
            answer = await answer
        if isinstance(answer, Operation):
            answer.error = self._faults.operation("POST", f"{target.id}/{target.action}")
            headers = _headers(target, answer, request.query["api-version"], "Location")
            return web.Response(status=202, headers=headers)
        if answer is None:
            return web.Response(status=204 if target.action.lower() in WITHOUT_CONTENT else 200)
        return web.json_response(answer)

    def _write(self, method: str, target: Target, body: Any, version: str) -> web.Response:
        clean = self._contract.clean(method, target.kind, body)
        before = self._world.get(target.id)
        if method == "PATCH":
            before = self._existing(target)
        self._check_parent(target)
        if self._world.running(target.id):
            raise ArmError(
                409, "AnotherOperationInProgress", f"Another operation on {target.name} is in progress."
            )
        kind = KINDS[target.kind.lower()]
        resource = self._compose(target, clean, before, merge=method == "PATCH")
        kind.fill(self._world, target, resource, before)
        error = self._faults.operation(method, target.id)
        if kind.put == "sync":
            return self._write_now(target, resource, before, kind, error)
        return self._write_later(target, resource, before, kind, version, error)

    def _check_parent(self, target: Target) -> None:
        segments = target.id.split("/")
        nested = len(segments) > 9
        parent = _owner("/".join(segments[:-2]))
        if nested and self._world.get(parent) is None:
            raise ArmError(
                404,
                "ParentResourceNotFound",
                f"Failed to perform 'write' on resource(s) of type '{target.kind}', because the parent resource "
                f"'{parent.rpartition('/providers/')[2]}' could not be found.",
            )

    def _compose(self, target: Target, clean: Resource, before: Resource | None, *, merge: bool) -> Resource:
        name = self._contract.type_name(target.kind)
        resource: Resource = {"id": target.id, "name": target.name, "type": name}
        if name.lower().endswith(f"/{target.name.lower()}"):
            resource["type"] = name.rpartition("/")[0]
        if (
            before
            and before.get("location")
            and clean.get("location", before["location"]) != before["location"]
        ):
            raise ArmError(
                409,
                "InvalidResourceLocation",
                f"The resource '{target.name}' already exists in location '{before['location']}' in resource "
                f"group '{target.group}'. A resource with the same name cannot be created in location "
                f"'{clean['location']}'. Please select a new resource name.",
            )
        resource = _merged({**(before or {}), **resource}, clean) if merge else {**resource, **clean}
        resource.setdefault("properties", {})
        if "systemassigned" in str(resource.get("identity", {}).get("type", "")).lower():
            identity = {
                "principalId": self._world.identity(f"principal {target.id}"),
                "tenantId": self._world.settings.tenant,
            }
            resource["identity"] |= identity
        return resource

    def _write_now(
        self, target: Target, resource: Resource, before: Resource | None, kind: Kind, error: ArmError | None
    ) -> web.Response:
        if error:
            raise error
        if kind.stateful and not target.kind.startswith("Microsoft.Web/"):
            resource["properties"]["provisioningState"] = "Succeeded"
        self._world.put(target.id, resource)
        created = before is None and not target.kind.startswith(("Microsoft.Web/", "Microsoft.EventHub/"))
        return web.json_response(shown(self._world, resource), status=201 if created else 200)

    def _write_later(
        self,
        target: Target,
        resource: Resource,
        before: Resource | None,
        kind: Kind,
        version: str,
        error: ArmError | None,
    ) -> web.Response:
        resource["properties"]["provisioningState"] = kind.working or ("Updating" if before else "Creating")
        self._world.put(target.id, resource)
        error = error or kind.fails(self._world, target.id)

        def finish(failure: ArmError | None) -> None:
            current = self._world.get(target.id)
            if current is not None:
                current["properties"]["provisioningState"] = "Failed" if failure else "Succeeded"
                self._world.put(target.id, current)
                kind.done(self._world, target.id, failure)

        operation = self._world.start(target.id, finish, error)
        if kind.put == "location":
            return web.Response(status=202, headers=_headers(target, operation, version, "Location"))
        if kind.put == "accepted":
            names = ("Azure-AsyncOperation", "Location")
            return web.Response(status=202, headers=_headers(target, operation, version, *names))
        headers = _headers(target, operation, version, "Azure-AsyncOperation")
        body = shown(self._world, resource)
        return web.json_response(body, status=200 if before else 201, headers=headers)

    def _delete(self, target: Target, version: str) -> web.Response:
        resource = self._world.get(target.id)
        if resource is None:
            if target.kind == "Microsoft.Resources/resourceGroups":
                self._existing(target)
            return web.Response(status=204)
        error = self._faults.operation("DELETE", target.id)
        kind = KINDS[target.kind.lower()]
        kind.keep(self._world, target)
        if kind.delete == "sync":
            if error:
                raise error
            self._world.delete(target.id)
            return web.Response(status=200)
        resource["properties"]["provisioningState"] = "Deleting"
        self._world.put(target.id, resource)

        def finish(failure: ArmError | None) -> None:
            if failure is None:
                self._world.delete(target.id)
            elif current := self._world.get(target.id):
                current["properties"]["provisioningState"] = "Failed"
                self._world.put(target.id, current)

        operation = self._world.start(target.id, finish, error)
        names = ("Location",) if kind.delete == "location" else ("Azure-AsyncOperation", "Location")
        return web.Response(status=202, headers=_headers(target, operation, version, *names))

    def _poll(self, style: str, identity: str) -> web.Response:
        operation = self._world.operations.get(identity)
        if operation is None:
            raise ArmError(404, "NotFound", f"The operation '{identity}' was not found.")
        wait = {"Retry-After": "1"}
        if style == "operations":
            body: dict[str, Any] = {"id": operation.id, "name": operation.id, "status": operation.status}
            if operation.status == "Failed" and operation.error:
                body |= operation.error.body()
            return web.json_response(body, headers=wait if operation.status == "InProgress" else {})
        if operation.status == "InProgress":
            return web.Response(status=202, headers=wait)
        if operation.error:
            raise operation.error
        resource = self._world.get(operation.resource)
        return web.json_response(shown(self._world, resource)) if resource else web.Response(status=200)


def _etag(resource: Mapping[str, Any]) -> str:
    """Another one for any other content."""
    return f'"{hashlib.sha256(json.dumps(resource, sort_keys=True).encode()).hexdigest()[:16]}"'


def _owner(identity: str) -> str:
    """The resource that holds ``identity`` where that is a part of it, such as ``blobServices/default``."""
    return "/".join(identity.split("/")[:-2]) if identity.lower().endswith("/default") else identity


def _headers(target: Target, operation: Operation, version: str, *names: str) -> dict[str, str]:
    """Where to look for the end of an operation: its status, or its result."""
    namespace = target.kind.partition("/")[0]
    place = "" if namespace == "Microsoft.Resources" else f"/providers/{namespace}/locations/westeurope"
    base = f"{BASE}/subscriptions/{target.subscription}{place}"
    paths = {"Azure-AsyncOperation": "operations", "Location": "operationresults"}
    urls = {name: f"{base}/{paths[name]}/{operation.id}?api-version={version}" for name in names}
    return {**urls, "Retry-After": "1"}


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """JSON objects merged member by member; tags are replaced as a whole, as ARM does."""
    result = dict(old)
    for key, value in new.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict) and key != "tags"
        result[key] = _merged(result[key], value) if both else value
    return {key: value for key, value in result.items() if value is not None}


async def _json(request: web.Request) -> Any:
    try:
        return json.loads(await request.read() or b"null")
    except ValueError as error:
        raise ArmError(
            400,
            "InvalidRequestContent",
            f"The request content was invalid and could not be deserialized: '{error}'.",
        ) from error
