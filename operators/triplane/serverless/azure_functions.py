"""Azure Functions: a function app on Linux, its settings, and a package sent by zip deployment.

One app has one place to serve from, so a deployment replaces what serves. Whatever does not come up is
undone: the settings of before, then the package of before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

from triplane.core.errors import InputError, RefusedError, TerminalError, TransientError
from triplane.serverless.kudu import Kudu
from triplane.serverless.target import Deployed, DeployFailed, Desired, Log, Observed, Option, Unknown

CONFIG_TAG = "triplane-config"
PACKAGE_TAG = "triplane-package"
MESSAGE = "triplane "
POLL_SECONDS = 1.0
# Application settings that we or the platform set; they are not part of a function's environment.
PLATFORM_SETTINGS: Final = frozenset(
    {
        "ENABLE_ORYX_BUILD",
        "FUNCTIONS_EXTENSION_VERSION",
        "FUNCTIONS_WORKER_RUNTIME",
        "SCM_DO_BUILD_DURING_DEPLOYMENT",
        "WEBSITE_CONTENTAZUREFILECONNECTIONSTRING",
        "WEBSITE_CONTENTSHARE",
        "WEBSITE_RUN_FROM_PACKAGE",
    }
)


@dataclass(frozen=True)
class _Before:
    """What served before a deployment, with all that is needed to put it back."""

    observed: Observed
    package: bytes | None


class AzureFunctions:
    """Function apps of one resource group.

    ``client`` is an ``azure.mgmt.web.WebSiteManagementClient``, ``token`` gives access tokens for Resource
    Manager, ``packages`` gives a package by its digest (``ArtifactStore.get``). An ``AzureWebJobsStorage``
    connection, where triggers need one, belongs in the function's environment. Options: ``runtime``
    (``python|3.11``), ``plan`` (resource id of an App Service plan; without it Azure makes a consumption
    plan), ``health_path`` (must answer below 400 after a deployment).
    """

    kind: Literal["package", "image"] = "package"
    options = frozenset({"runtime", "plan", "health_path"})

    def __init__(
        self,
        client: Any,
        token: Callable[[], str],
        *,
        resource_group: str,
        location: str,
        packages: Callable[[str], bytes] | None = None,
        health_seconds: float = 60.0,
    ) -> None:
        self._apps = client.web_apps
        self._token = token
        self._group = resource_group
        self._location = location
        self._packages = packages
        self._health_seconds = health_seconds

    def observe(self, name: str) -> Observed | None:
        """The app's active deployment (its id is the version), settings and tags."""
        site = self._site(name)
        if site is None:
            return None
        active = self._kudu(site).active()
        with _errors(f"reading {name}"):
            settings = self._settings(name)
            config = self._apps.get_configuration(self._group, name)
        options: dict[str, Option] = {
            "runtime": (config.linux_fx_version or "").lower() or None,
            "plan": site.server_farm_id,
            "health_path": config.health_check_path,
        }
        return Observed(
            version=active.id if active else "",
            artifact=_artifact(active.message) if active else None,
            config=(site.tags or {}).get(CONFIG_TAG),
            environment={key: value for key, value in settings.items() if key not in PLATFORM_SETTINGS},
            options={key: value for key, value in options.items() if value},
        )

    def deploy(self, desired: Desired, observed: Observed | None, log: Log) -> Deployed:
        """Configures the app, sends the package, and waits until its functions are there."""
        environment = desired.known_environment()
        options = _known_options(desired)
        _check(desired, environment, options)
        package = desired.package
        if package is None:
            raise InputError(f"{desired.name}: Azure Functions runs packages, and none is given")
        before = self._before(desired.name, observed)
        try:
            self._configure(desired.name, environment, options, desired.config, desired.artifact, log)
            log(f"{desired.name}: sending {len(package)} bytes, {desired.artifact}")
            version = self._push(desired.name, package, desired.artifact)
            log(f"{desired.name}: deployment {version} is in place, waiting for its functions")
            functions = self._wait_healthy(desired.name, options)
        except (DeployFailed, TerminalError) as error:
            restored = self._put_back(desired.name, before, log)
            raise DeployFailed(f"{desired.name}: {error}", restored=restored) from error
        return Deployed(version=version, details=self._details(desired, functions))

    def verify(self, desired: Desired, deployed: Deployed) -> None:
        """Reads back the active deployment, the package it came from, and the functions it serves."""
        observed = self.observe(desired.name)
        if observed is None or observed.version != deployed.version:
            found = observed.version if observed else "no app"
            raise DeployFailed(f"{desired.name}: {found} serves, not deployment {deployed.version}")
        if observed.artifact != desired.artifact:
            raise DeployFailed(f"{desired.name}: {observed.artifact} serves, not {desired.artifact}")
        self._wait_healthy(desired.name, _known_options(desired))

    def restore(self, name: str, previous: Observed) -> None:
        """Deploys the package and settings of ``previous`` again, as a new deployment."""
        if self._packages is None or previous.artifact is None:
            raise InputError(f"{name}: the package of {previous.version} is not known, deploy it by hand")
        self._apply(name, _Before(previous, self._packages(previous.artifact)), log=lambda line: None)

    def delete(self, name: str) -> None:
        """Deletes the app; its plan stays, other apps may run on it."""
        if self._site(name) is not None:
            with _errors(f"removing {name}"):
                self._apps.delete(self._group, name, delete_empty_server_farm=False)

    def _before(self, name: str, observed: Observed | None) -> _Before | None:
        if observed is None:
            return None
        if not observed.version:
            return _Before(observed, None)
        if self._packages is not None and observed.artifact is not None:
            try:
                return _Before(observed, self._packages(observed.artifact))
            except RefusedError:
                pass  # deployed by another installation: take it from where it runs
        return _Before(observed, self._kudu(self._found(name)).download())

    def _put_back(self, name: str, before: _Before | None, log: Log) -> str | None:
        """The version that serves again, None when nothing did before."""
        if before is None:
            log(f"{name}: removing the app that this deployment made")
            with _errors(f"removing {name}"):
                self._apps.delete(self._group, name, delete_empty_server_farm=False)
            return None
        log(f"{name}: putting back {before.observed.artifact or before.observed.version or 'the settings'}")
        return self._apply(name, before, log)

    def _apply(self, name: str, before: _Before, log: Log) -> str | None:
        was = before.observed
        self._configure(name, was.environment, was.options, was.config, was.artifact, log)
        active = self._kudu(self._found(name)).active()
        if before.package is None or (active and active.id == was.version):
            return was.version or None
        version = self._push(name, before.package, was.artifact)
        self._wait_healthy(name, was.options)
        return version

    def _configure(
        self,
        name: str,
        environment: Mapping[str, str],
        options: Mapping[str, Option],
        config: str | None,
        artifact: str | None,
        log: Log,
    ) -> None:
        """Creates or updates the app and replaces its application settings."""
        site = self._site(name)
        log(f"{name}: {'updating' if site else 'creating'} the function app and its settings")
        tags = dict((site.tags if site else None) or {})
        stamps = {CONFIG_TAG: config, PACKAGE_TAG: artifact}
        tags = {key: value for key, value in {**tags, **stamps}.items() if value}
        runtime = str(options.get("runtime") or "")
        with _errors(f"configuring {name}"):
            kept = self._settings(name) if site else {}
            body = _body(site, self._location, tags, options)
            self._apps.begin_create_or_update(self._group, name, body, polling_interval=2).result()
            settings = {key: value for key, value in kept.items() if key in PLATFORM_SETTINGS}
            settings |= {**_runtime_settings(runtime), **environment}
            self._apps.update_application_settings(self._group, name, {"properties": settings})

    def _push(self, name: str, package: bytes, artifact: str | None) -> str:
        return self._kudu(self._found(name)).push(package, f"{MESSAGE}{artifact or 'restored'}")

    def _wait_healthy(self, name: str, options: Mapping[str, Option]) -> list[str]:
        """The names of the functions, once the app serves them. :raises DeployFailed: it does not in time"""
        deadline = time.monotonic() + self._health_seconds
        site = self._found(name)
        path = str(options.get("health_path") or "")
        while True:
            with _errors(f"reading the functions of {name}"):
                found = [
                    str(item.name).rpartition("/")[2] for item in self._apps.list_functions(self._group, name)
                ]
            status = _probe(f"https://{site.default_host_name}/{path.lstrip('/')}")
            if found and status and status < (400 if path else 500):
                return sorted(found)
            if time.monotonic() > deadline:
                what = f"its {path or 'front page'} answers {status}" if found else "it loads no function"
                raise DeployFailed(f"{name} does not serve after {self._health_seconds:g} s: {what}")
            time.sleep(POLL_SECONDS)

    def _details(self, desired: Desired, functions: list[str]) -> dict[str, str]:
        host = self._found(desired.name).default_host_name
        return {"url": f"https://{host}", "package": desired.artifact, "functions": ", ".join(functions)}

    def _settings(self, name: str) -> dict[str, str]:
        return dict(self._apps.list_application_settings(self._group, name).properties or {})

    def _site(self, name: str) -> Any:
        from azure.core.exceptions import ResourceNotFoundError

        with _errors(f"reading {name}"):
            try:
                return self._apps.get(self._group, name)
            except ResourceNotFoundError as error:
                if error.error is not None and error.error.code == "ResourceGroupNotFound":
                    raise InputError(f"{name}: there is no resource group {self._group}") from error
                return None

    def _found(self, name: str) -> Any:
        site = self._site(name)
        if site is None:
            raise DeployFailed(f"function app {name} is gone")
        return site

    def _kudu(self, site: Any) -> Kudu:
        host = next(item for item in site.enabled_host_names if ".scm." in item)
        return Kudu(host, self._token)


def _artifact(message: str) -> str | None:
    """The package digest that our deployments carry in their message."""
    digest = message.removeprefix(MESSAGE)
    return digest if message.startswith(MESSAGE) and digest.startswith("sha256:") else None


def _known_options(desired: Desired) -> dict[str, Option]:
    return {key: value for key, value in desired.options.items() if not isinstance(value, Unknown)}


def _check(desired: Desired, environment: Mapping[str, str], options: Mapping[str, Option]) -> None:
    """:raises InputError: a setting of the platform's own, no runtime, or a plan that is no resource id"""
    reserved = sorted(PLATFORM_SETTINGS & environment.keys())
    if reserved:
        raise InputError(f"{desired.name}: {', '.join(reserved)} is set by Triplane; leave it out")
    if "|" not in str(options.get("runtime") or ""):
        raise InputError(f"{desired.name}: give `runtime` as Azure writes it, for example python|3.11")
    plan = options.get("plan")
    if plan and not str(plan).lower().startswith("/subscriptions/"):
        raise InputError(f"{desired.name}: give `plan` as the resource id of an App Service plan")


def _runtime_settings(runtime: str) -> dict[str, str]:
    worker = runtime.partition("|")[0]
    build = {"ENABLE_ORYX_BUILD": "true", "SCM_DO_BUILD_DURING_DEPLOYMENT": "true"}
    own = {"FUNCTIONS_EXTENSION_VERSION": "~4", "FUNCTIONS_WORKER_RUNTIME": worker}
    return own | (build if worker == "python" else {})


def _body(site: Any, location: str, tags: Mapping[str, str], options: Mapping[str, Option]) -> dict[str, Any]:
    """The app as Resource Manager takes it; what is not ours is sent back as it was."""
    config = {"linuxFxVersion": options.get("runtime"), "healthCheckPath": options.get("health_path") or ""}
    known: dict[str, Any] = site.as_dict(exclude_readonly=True) if site else {"location": location}
    plan = {"serverFarmId": options["plan"]} if options.get("plan") else {}
    ours = {"reserved": True, "httpsOnly": True, "siteConfig": config, **plan}
    return {
        **known,
        "kind": "functionapp,linux",
        "tags": dict(tags),
        "properties": {**known.get("properties", {}), **ours},
    }


def _probe(url: str) -> int:
    """The HTTP status of ``url``, 0 when nobody answers."""
    import requests

    try:
        return int(requests.get(url, timeout=30, allow_redirects=False).status_code)
    except requests.RequestException:
        return 0


@contextmanager
def _errors(what: str) -> Iterator[None]:
    """Azure's errors as ours."""
    from azure.core.exceptions import AzureError, HttpResponseError

    try:
        yield
    except HttpResponseError as error:
        status = error.status_code or 0
        kind = TransientError if status in (408, 429) or status >= 500 else TerminalError
        raise kind(f"{what}: {error.message}") from error
    except AzureError as error:
        raise TransientError(f"{what}: {error}") from error
