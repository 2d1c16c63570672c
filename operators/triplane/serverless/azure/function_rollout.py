"""Brings one side of a function app to what it shall be: settings, site, package, and functions that answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from triplane.core.errors import StaleError
from triplane.serverless.azure import function_app_body as body
from triplane.serverless.azure.calls import ask
from triplane.serverless.azure.function_side import Found, Side
from triplane.serverless.azure.kudu import FAILED, Deployment
from triplane.serverless.azure.stream_settings import replaced
from triplane.serverless.target import DeployFailed, Desired, Log, Progress, Ready, Smoke, Waiting

STEP_SECONDS: Final = 3.0


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """Each call starts the next thing that is missing. New sides are made in ``location``; a package must load its
    functions within ``health_seconds`` after it was unpacked."""

    location: str
    health_seconds: float

    def create(
        self,
        side: Side,
        desired: Desired,
        shared: Mapping[str, str],
        sticky: Collection[str],
        labels: Mapping[str, str],
        log: Log,
        *,
        streams: Mapping[str, str] | None = None,
    ) -> Progress:
        """Makes the side, with its settings at once: whose it is can be read from the beginning.

        ``streams`` are the settings of streams that a slot shall have.
        """
        log(f"{side.label}: creating it")
        options = dict(desired.known_options())
        if side.slot:
            options.pop("plan", None)
        change = body.site_change(options, body.linux_version(desired), new=True)
        values = body.settings(desired, streams or {}, sticky, shared)
        pairs = [{"name": key, "value": value} for key, value in sorted(values.items())]
        change["properties"]["siteConfig"]["appSettings"] = pairs
        side.write(None, self.location, change, labels)
        return Waiting(why=f"{side.label} is being created", seconds=STEP_SECONDS)

    def bring_up(
        self,
        side: Side,
        found: Found,
        desired: Desired,
        sticky: Collection[str],
        log: Log,
        *,
        streams: Mapping[str, str] | None = None,
    ) -> Progress:
        """Makes the settings, the side and its package what they shall be, one after the other.

        ``streams`` are the settings of streams that a slot shall have; production keeps its own.
        """
        there = found.settings if streams is None else replaced(found.settings, streams)
        values = body.settings(desired, there, sticky, {})
        if values != found.settings:
            side.write_settings(values)
            return Waiting(why=f"{side.label} restarts with its new settings", seconds=STEP_SECONDS)
        options = dict(desired.known_options())
        if side.slot:
            options.pop("plan", None)
        if differs(found, options) or found.config.linux_fx_version != body.linux_version(desired):
            side.write(
                found.site,
                self.location,
                body.site_change(options, body.linux_version(desired), new=False),
                {},
            )
            return Waiting(why=f"{side.label} is being configured", seconds=STEP_SECONDS)
        if desired.package is None:
            return self.healthy(side, found, None, str(options.get("health_path") or ""))
        text = body.message(desired.artifact, desired.attempt)
        sent = self.sent(side, found, desired.package, text, log)
        return (
            sent
            if isinstance(sent, Waiting)
            else self.healthy(side, found, sent, str(options.get("health_path") or ""))
        )

    def sent(self, side: Side, found: Found, package: bytes, text: str, log: Log) -> Deployment | Waiting:
        """The deployment with that message, once it is in place; it is sent if nobody has sent it yet."""
        sent = found.sent(text)
        if sent is None:
            log(f"{side.label}: sending {len(package)} bytes")
            side.kudu(found.site).push(package, text)
            return Waiting(why=f"{side.label} unpacks the package", seconds=STEP_SECONDS)
        if sent.status == FAILED:
            raise DeployFailed(
                f"{side.label}: deployment {sent.id} failed: {side.kudu(found.site).why(sent)}"
            )
        if not sent.complete:
            return Waiting(why=f"{side.label} unpacks the package", seconds=STEP_SECONDS)
        if not sent.active:
            raise StaleError(f"{side.label}: another package was deployed over this one; plan again")
        return sent

    def healthy(self, side: Side, found: Found, sent: Deployment | None, path: str) -> Progress:
        """Ready once the functions are loaded and the side answers."""
        functions = side.functions()
        host = found.site.default_host_name
        status = ask(f"https://{host}", Smoke(path=path or "/", timeout=10.0)).status
        limit = 400 if path else 500
        if functions and 0 < status < limit:
            details = {"url": f"https://{host}", "functions": ", ".join(functions)}
            return Ready(version=found.version, details=details)
        what = (
            f"its {path or 'front page'} answers {status or 'nothing'}"
            if functions
            else "it loads no function"
        )
        if sent is not None:
            kudu = side.kudu(found.site)
            kudu.deployments()
            if kudu.age(sent) > self.health_seconds:
                raise DeployFailed(f"{side.label} does not serve after {self.health_seconds:g} s: {what}")
        return Waiting(why=f"{side.label}: {what}", seconds=STEP_SECONDS)


def differs(found: Found, options: Mapping[str, Any]) -> bool:
    """Whether a side is not yet as ``options`` say; what they do not name does not count."""
    own = body.options_of(found.site, found.config, {"options": dict(options)})
    names = (key for key in options if key not in ("runtime", "slot", "auth_level"))
    return any((own.get(key) or None) != (options[key] or None) for key in names)
