"""One side of a function app: production, or a deployment slot. Each call makes one request and waits for nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from triplane.serverless.azure import function_app_body as body
from triplane.serverless.azure.calls import ONCE, calling, found_or_none, read_stamp
from triplane.serverless.azure.kudu import Deployment, Kudu
from triplane.serverless.target import Option


@dataclass(frozen=True, kw_only=True)
class Found:
    """What is on a side now. ``version`` names what serves there, "" if nothing was deployed."""

    site: Any
    config: Any
    settings: Mapping[str, str] = field(repr=False)
    deployments: tuple[Deployment, ...]

    @property
    def made(self) -> dict[str, Any]:
        """What the last deployment of ours left there."""
        return read_stamp(self.settings.get(body.STAMP))

    @property
    def attempt(self) -> str:
        return str(self.made.get("attempt") or "")

    @property
    def image(self) -> str | None:
        version = str(self.config.linux_fx_version or "")
        return version.removeprefix(body.CONTAINER) if version.startswith(body.CONTAINER) else None

    @property
    def active(self) -> Deployment | None:
        return next((item for item in self.deployments if item.active), None)

    @property
    def version(self) -> str:
        if self.image is not None:
            return self.attempt or self.image
        return self.active.id if self.active else ""

    @property
    def artifact(self) -> str | None:
        if self.image is not None:
            return self.image
        return body.artifact_of(self.active.message) if self.active else None

    @property
    def options(self) -> dict[str, Option]:
        return body.options_of(self.site, self.config, self.made)

    def sent(self, message: str) -> Deployment | None:
        """The deployment that was sent with this message."""
        return next((item for item in self.deployments if item.message == message), None)


class Side:
    """Production, or the slot of that name. ``apps`` is ``web_apps`` of the SDK's client."""

    def __init__(self, apps: Any, group: str, app: str, slot: str, token: Callable[[], str]) -> None:
        self._apps = apps
        self._names = (group, app, *([slot] if slot else []))
        self._kind = "_slot" if slot else ""
        self._token = token
        self.app = app
        self.slot = slot
        self.label = f"{app}, slot {slot}" if slot else app

    def site(self) -> Any:
        """The side as a resource, None if there is none."""
        return found_or_none(f"reading {self.label}", lambda: self._call("get"))

    def look(self, site: Any = None) -> Found | None:
        """Everything that is there, None if there is no such side."""
        site = self.site() if site is None else site
        if site is None:
            return None
        with calling(f"reading {self.label}"):
            config = self._call("get_configuration")
            settings = dict(self._call("list_application_settings").properties or {})
        contained = str(config.linux_fx_version or "").startswith(body.CONTAINER)
        deployments = () if contained else tuple(self.kudu(site).deployments())
        return Found(site=site, config=config, settings=settings, deployments=deployments)

    def kudu(self, site: Any) -> Kudu:
        return Kudu(next(item for item in site.enabled_host_names if ".scm." in item), self._token)

    def write(self, site: Any, location: str, change: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Creates or updates it; what is not ours is sent back as it was."""
        known: dict[str, Any] = (
            site.as_dict(exclude_readonly=True) if site is not None else {"location": location}
        )
        properties = {key: value for key, value in known.get("properties", {}).items() if key != "siteConfig"}
        envelope = {
            **known,
            "kind": "functionapp,linux",
            "tags": {**(known.get("tags") or {}), **tags},
            **({"identity": change["identity"]} if "identity" in change else {}),
            "properties": {**properties, **change["properties"]},
        }
        with calling(f"configuring {self.label}"):
            self._call("begin_create_or_update", envelope, polling=False)

    def write_settings(self, settings: Mapping[str, str]) -> None:
        """Replaces all application settings; the side restarts."""
        with calling(f"configuring {self.label}"):
            self._call("update_application_settings", {"properties": dict(settings)})

    def stick(self, names: Collection[str]) -> None:
        """Makes these settings slot settings of the app: a swap leaves them where they are."""
        with calling(f"configuring {self.label}"):
            found = self._apps.list_slot_configuration_names(*self._names, **ONCE).as_dict()
            properties = found.get("properties") or {}
            shall = sorted({*(properties.get("appSettingNames") or ()), *names})
            body = {"properties": {**properties, "appSettingNames": shall}}
            self._apps.update_slot_configuration_names(*self._names, body, **ONCE)

    def functions(self) -> list[str]:
        """The names of the functions that it has loaded."""
        with calling(f"reading the functions of {self.label}"):
            names = "list_instance_functions_slot" if self.slot else "list_functions"
            found = list(getattr(self._apps, names)(*self._names, **ONCE))
        return sorted(str(item.name).rpartition("/")[2] for item in found)

    def key(self) -> str:
        """The key that calls any of its functions."""
        with calling(f"reading the keys of {self.label}"):
            keys = self._call("list_host_keys")
        return str((keys.function_keys or {}).get("default") or keys.master_key or "")

    def remove(self) -> None:
        with calling(f"removing {self.label}"):
            self._call("delete", delete_empty_server_farm=False)

    def metadata(self) -> dict[str, str]:
        """Notes on the app that its code does not see; they are read and protected like settings."""
        with calling(f"reading the notes of {self.label}"):
            return dict(self._call("list_metadata").properties or {})

    def write_metadata(self, notes: Mapping[str, str]) -> None:
        with calling(f"writing the notes of {self.label}"):
            self._call("update_metadata", {"properties": dict(notes)})

    def _call(self, verb: str, *arguments: Any, **options: Any) -> Any:
        return getattr(self._apps, f"{verb}{self._kind}")(*self._names, *arguments, **options, **ONCE)
