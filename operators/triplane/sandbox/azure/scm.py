"""The two hosts of a function app: deployments (``.scm.``) and the functions themselves."""

from __future__ import annotations

import asyncio
import base64
import hmac
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from yarl import URL

from triplane.sandbox.azure import images, sites, slots
from triplane.sandbox.azure.apps import (
    STATUS_TEXT,
    SUCCESS,
    App,
    Apps,
    Deployment,
    PackageError,
    encode,
    route,
)
from triplane.sandbox.azure.arm import bearer
from triplane.sandbox.azure.errors import ArmError
from triplane.sandbox.azure.kinds import Action, host_key
from triplane.sandbox.azure.schema import Target
from triplane.sandbox.azure.tokens import Directory
from triplane.sandbox.azure.world import Operation, Resource, World, now

CONTAINER = "DOCKER|"
# Set by the platform in every function app.
PLATFORM = {"AZURE_FUNCTIONS_ENVIRONMENT": "Production", "WEBSITE_INSTANCE_ID": "sandbox"}


class Sites:
    """Serves ``<app>.scm.azurewebsites.net`` and ``<app>.azurewebsites.net``."""

    def __init__(self, world: World, directory: Directory, apps: Apps) -> None:
        self._world = world
        self._directory = directory
        self._apps = apps
        self._running: set[asyncio.Task[None]] = set()

    async def scm(self, name: str, request: web.Request) -> web.Response:
        """Deployment of packages, as Kudu serves it. Raises ArmError."""
        site = self._site(name)
        bearer(self._directory, request.headers.get("Authorization", ""))
        app = self._apps.get(name)
        path = request.path.strip("/").lower()
        if request.method == "POST" and path in ("api/zipdeploy", "api/publish"):
            return await self._deploy(name, site, app, request)
        if request.method == "GET" and path == "api/zip/site/wwwroot":
            if app.active is None:
                raise ArmError(404, "NotFound", "Nothing is deployed.")
            data = app.package(app.active).read_bytes()
            return web.Response(body=data, content_type="application/zip")
        if request.method == "GET" and path.startswith("api/logs/docker"):
            return self._logs(name, app, path.split("/")[3:])
        if request.method == "GET" and path.startswith("api/deployments"):
            return self._deployments(name, app, path.split("/")[2:])
        raise ArmError(404, "NotFound", f"No route '{request.path}'.")

    async def serve(self, name: str, request: web.Request) -> web.Response:
        """Runs the function that the request is for. Raises ArmError."""
        body = await request.read()
        return await self.call(name, request.method, request.url, dict(request.headers), body)

    async def call(
        self, name: str, method: str, url: URL, given: Mapping[str, str], body: bytes
    ) -> web.Response:
        """The answer of the function that serves ``url``. Raises ArmError."""
        site = self._site(name)
        if site["properties"]["state"] != "Running":
            raise ArmError(403, "SiteDisabled", "This web app is stopped.")
        app = self._apps.get(name)
        if image := self._image(site):
            return self._contained(image)
        if url.path == "/":
            return web.Response(text="Your Functions app is up and running", content_type="text/html")
        found = route(app, method, url.path)
        if found is None or app.active is None:
            raise ArmError(404, "NotFound", "")
        function, parameters = found
        key = {name.lower(): value for name, value in given.items()}.get("x-functions-key")
        self._authorize(site, app.functions[function]["auth"], key or url.query.get("code") or "")
        message = {
            "method": method,
            "url": str(url),
            "headers": dict(given),
            "params": dict(url.query),
            "route_params": parameters,
            "body": encode(body),
        }
        try:
            answer = await self._apps.call(app, function, self.settings(site), message)
        except PackageError as error:
            raise ArmError(500, "InternalServerError", str(error)) from error
        headers = {**answer["headers"], "X-Sandbox-Deployment": app.active.id}
        return web.Response(status=answer["status"], body=base64.b64decode(answer["body"]), headers=headers)

    def functions(self, target: Target) -> list[Resource]:
        """What Resource Manager lists below a site or slot."""
        label, kind = sites.label(target.id), f"{target.kind}"
        site = self._world.get(target.id)
        image = self._image(site) if site else None
        if image and images.found(self._world.settings.registry, image):
            found = {"container": {"route": "", "bindings": []}}
        else:
            found = {} if image else self._apps.get(label).functions
        prefix = self._apps.get(label).prefix
        return [
            {
                "id": f"{target.id}/functions/{name}",
                "name": f"{target.name}/{name}",
                "type": kind,
                "properties": {
                    "name": name,
                    "invoke_url_template": f"https://{label}.azurewebsites.net/{prefix}/{item['route']}",
                    "language": "python",
                    "config": {"bindings": item["bindings"]},
                    "isDisabled": False,
                },
            }
            for name, item in found.items()
        ]

    def actions(self) -> dict[tuple[str, str], Action]:
        """What is POSTed to sites and slots."""
        kinds = ("microsoft.web/sites", slots.SLOTS.lower())
        return {(kind, "slotsswap"): self._swap for kind in kinds}

    def _swap(self, world: World, target: Target, body: Mapping[str, Any]) -> Operation:
        one, other = slots.swap_partner(world, target, body)
        slots.begin(world, one, other)

        def finish(failure: ArmError | None) -> None:
            slots.end(world, one, other, swapped=failure is None)
            if failure is None:
                self._apps.swap(sites.label(one), sites.label(other))

        return world.start(one, finish, None)

    def _image(self, site: Resource) -> str | None:
        """The image that a site runs, None if it runs a package."""
        config = self._world.get(f"{site['id']}/config/web") or {"properties": {}}
        version = str(config["properties"].get("linuxFxVersion") or "")
        return version.removeprefix(CONTAINER) if version.startswith(CONTAINER) else None

    def _contained(self, image: str) -> web.Response:
        """The sandbox runs no function in a container: it says which one would."""
        if not images.found(self._world.settings.registry, image):
            raise ArmError(503, "ServiceUnavailable", ":( Application Error")
        return web.json_response({"image": image})

    def _logs(self, name: str, app: App, rest: list[str]) -> web.Response:
        if rest:
            lines = app.deployments[-1].log if app.deployments else []
            return web.Response(text="\n".join(lines))
        url = f"https://{name}.scm.azurewebsites.net/api/logs/docker/sandbox_default_docker.log"
        return web.json_response([{"machineName": "sandbox", "lastUpdated": now(), "href": url}])

    def summary(self, name: str) -> dict[str, Any]:
        """What is deployed, for whoever checks the sandbox from outside the clouds."""
        app = self._apps.get(name)
        active = app.active
        return {
            "deployment": active and active.id,
            "digest": active and active.digest,
            "functions": sorted(app.functions),
        }

    def settings(self, site: Resource) -> dict[str, str]:
        """The environment of the functions: the application settings and what the platform adds."""
        stored = self._world.get(f"{site['id']}/config/appsettings") or {"properties": {}}
        own = {
            "WEBSITE_SITE_NAME": site["name"].partition("/")[0],
            "WEBSITE_HOSTNAME": site["properties"]["defaultHostName"],
        }
        return {**PLATFORM, **own, **stored["properties"]}

    def _site(self, name: str) -> Resource:
        self._world.settle()
        site = sites.find(self._world, name)
        if site is None:
            self._apps.forget(name)
            raise ArmError(404, "NotFound", f"No web app '{name}'.")
        return site

    def _authorize(self, site: Resource, level: str, given: str) -> None:
        key = host_key(self._world, site["id"])
        if level != "anonymous" and not hmac.compare_digest(given.encode(), key.encode()):
            raise ArmError(401, "Unauthorized", "")

    async def _deploy(self, name: str, site: Resource, app: App, request: web.Request) -> web.Response:
        if app.busy:
            message = "There is a deployment currently in progress. Please try again when it completes."
            raise ArmError(409, "Conflict", message)
        query = {key.lower(): value for key, value in request.query.items()}
        if request.path.lower().endswith("publish") and query.get("type") != "zip":
            raise ArmError(400, "BadRequest", f"type='{query.get('type')}' is not served here; use zip.")
        data = await request.read()
        message = query.get("message", "Created via a push deployment")
        deployment = self._apps.begin(app, data, message, query.get("deployer", "ZipDeploy"))
        work = asyncio.create_task(self._apps.finish(app, deployment, self.settings(site)))
        self._running.add(work)
        work.add_done_callback(self._running.discard)
        if query.get("isasync", query.get("async", "")).lower() == "true":
            url = f"https://{name}.scm.azurewebsites.net/api/deployments/{deployment.id}"
            headers = {"Location": url, "SCM-DEPLOYMENT-ID": deployment.id, "Retry-After": "1"}
            return web.Response(status=202, headers=headers)
        await work
        if deployment.status != SUCCESS:
            raise ArmError(400, "BadRequest", deployment.log[-1])
        return web.Response(status=200, headers={"SCM-DEPLOYMENT-ID": deployment.id})

    def _deployments(self, name: str, app: App, rest: list[str]) -> web.Response:
        if not rest:
            return web.json_response([_shown(name, item) for item in reversed(app.deployments)])
        wanted = app.deployments[-1:] if rest[0] == "latest" else app.deployments
        found = next((item for item in wanted if rest[0] in ("latest", item.id)), None)
        if found is None or len(rest) > 2 or rest[1:] not in ([], ["log"]):
            raise ArmError(404, "NotFound", f"Deployment '{rest[0]}' not found.")
        if rest[1:]:
            return web.json_response(
                [{"message": line, "type": 0, "id": str(n)} for n, line in enumerate(found.log)]
            )
        return web.json_response(_shown(name, found), status=200 if found.complete else 202)


def _shown(name: str, item: Deployment) -> dict[str, Any]:
    url = f"https://{name}.scm.azurewebsites.net/api/deployments/{item.id}"
    return {
        "id": item.id,
        "status": item.status,
        "status_text": item.log[-1] if item.log and item.status != SUCCESS else STATUS_TEXT[item.status],
        "author_email": "N/A",
        "author": "N/A",
        "deployer": item.deployer,
        "message": item.message,
        "progress": "",
        "received_time": item.received,
        "start_time": item.received,
        "end_time": item.ended,
        "last_success_end_time": item.ended if item.status == SUCCESS else None,
        "complete": item.complete,
        "active": item.active,
        "is_temp": False,
        "is_readonly": True,
        "url": url,
        "log_url": f"{url}/log",
        "site_name": name,
    }
