"""The settings of a function app and its slots, where one stream's are changed and all others stay.

Azure replaces all application settings at once, and guards them with nothing: they are read, changed, written, and
read again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from triplane.serverless.azure import stream_settings as streams
from triplane.serverless.rest import Api
from triplane.serverless.target import Log

VERSION = "2025-05-01"
_QUERY = {"api-version": VERSION}


class AppSettings:
    """Function apps below ``scope``, which is ``/subscriptions/.../resourceGroups/.../providers``."""

    def __init__(self, manager: Api, scope: str) -> None:
        self._api = manager
        self._sites = f"{scope}/Microsoft.Web/sites"

    def read(self, app: str, slot: str = "") -> dict[str, str] | None:
        """All settings, None if there is no such app."""
        path = f"{self._side(app, slot)}/config/appsettings/list"
        found = self._api.call("POST", path, query=_QUERY, missing_ok=True)
        return None if found is None else dict(found.get("properties") or {})

    def apart(self, app: str, values: Mapping[str, str], trigger: str) -> bool:
        """Whether a swap leaves these settings where they are, and no slot reads events by ``trigger``."""
        if not set(values) <= self._sticky(app):
            return False
        slots = (self.read(app, slot) or {} for slot in self._slots(app))
        return all(found.get(streams.switch(trigger)) == "true" for found in slots)

    def write(self, app: str, setting: str, trigger: str, wanted: Mapping[str, str], log: Log) -> bool:
        """Makes the settings of one stream as ``wanted``; the slots come first, there its trigger is off.

        False if somebody else wrote at the same time.
        """
        self._stick(app, wanted)
        for slot in self._slots(app):
            self._put(app, slot, setting, trigger, {**wanted, streams.switch(trigger): "true"})
        if self._put(app, "", setting, trigger, wanted):
            log(f"{app}: restarts with new settings")
            now = self.read(app) or {}
            return streams.merged(now, setting, trigger, wanted) == now
        return True

    def remove(self, app: str, setting: str, trigger: str) -> None:
        """Takes the settings of one stream away; production stops to read first."""
        if self.read(app) is None:
            return
        self._put(app, "", setting, trigger, {})
        for slot in self._slots(app):
            self._put(app, slot, setting, trigger, {})
        shared = {streams.BATCH, streams.OFFSET}
        self._stick(app, (), gone={*streams.keys(setting, trigger), *shared})

    def _put(self, app: str, slot: str, setting: str, trigger: str, wanted: Mapping[str, str]) -> bool:
        now = self.read(app, slot) or {}
        shall = streams.merged(now, setting, trigger, wanted)
        if shall == now:
            return False
        path = f"{self._side(app, slot)}/config/appsettings"
        self._api.call("PUT", path, {"properties": shall}, query=_QUERY)
        return True

    def _stick(self, app: str, names: Collection[str], gone: Collection[str] = ()) -> None:
        """Makes ``names`` slot settings, and those of ``gone`` that no stream has any more ordinary ones."""
        found = self._names(app)
        now = list(found.get("appSettingNames") or ())
        still = streams.names(self.read(app) or {}) if gone else frozenset()
        shall = [name for name in now if name not in gone or name in still]
        shall += [name for name in sorted(names) if name not in shall]
        if shall != now:
            path = f"{self._sites}/{app}/config/slotConfigNames"
            body = {"properties": {**found, "appSettingNames": shall}}
            self._api.call("PUT", path, body, query=_QUERY)

    def _sticky(self, app: str) -> frozenset[str]:
        return frozenset(self._names(app).get("appSettingNames") or ())

    def _names(self, app: str) -> dict[str, Any]:
        found = self._api.get(f"{self._sites}/{app}/config/slotConfigNames", **_QUERY)
        return dict((found or {}).get("properties") or {})

    def _slots(self, app: str) -> list[str]:
        found = self._api.get(f"{self._sites}/{app}/slots", **_QUERY)
        return [str(slot["name"]).rpartition("/")[2] for slot in (found or {}).get("value") or ()]

    def _side(self, app: str, slot: str) -> str:
        return f"{self._sites}/{app}/slots/{slot}" if slot else f"{self._sites}/{app}"
