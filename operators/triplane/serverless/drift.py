"""What serves, against what we deployed: code, settings, environment, and the version that gets the traffic. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from triplane.core.digest import digest
from triplane.core.drift import Finding, finding
from triplane.core.redact import MASK
from triplane.serverless.target import Desired, Observed

NOTHING = "(nothing)"


def kept_key(scope: str, address: str) -> str:
    """Under this name the artifact store keeps what :func:`keep` returns."""
    return f"function/{scope}/{address}"


def keep(observed: Observed, salt: str | None = None) -> dict[str, Any]:
    """What the next check has to know of a deployment, as it was read back. Of the environment only digests."""
    salt = salt or secrets.token_hex(16)
    return {
        "version": observed.version,
        "artifact": observed.artifact,
        "config": observed.config,
        "options": dict(observed.options),
        "salt": salt,
        "environment": {name: digest([salt, name, value]) for name, value in observed.environment.items()},
    }


def findings(name: str, kept: Mapping[str, Any], observed: Observed | None) -> list[Finding]:
    """What somebody else has changed since; one finding for the function, as far as there is anything."""
    address = f"function {name}"
    if observed is None:
        return [finding(address, "delete")]
    now = keep(observed, kept["salt"])
    attributes = [*_plain(kept, now), *_options(kept, now), *_environment(kept, now)]
    hidden = digest(now["environment"])
    return [finding(address, "update", attributes, hidden)] if attributes else []


def pending(kept: Mapping[str, Any], desired: Desired) -> str:
    """What the source says beyond what was deployed; the image of one that runs images is not known here."""
    changed = [
        word
        for word, before, wanted in (
            ("code", kept["artifact"], desired.artifact),
            ("configuration", kept["config"], desired.config),
        )
        if before != wanted
    ]
    return f"{' and '.join(changed)} changed in the source" if changed else ""


def _plain(kept: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    for name, shown in (("version", "version that serves"), ("artifact", "code")):
        if kept[name] != now[name]:
            yield _attribute(shown, kept[name], now[name])
    if kept["version"] == now["version"] and kept["config"] != now["config"]:
        yield _attribute("deployment", kept["config"], now["config"] or "by somebody else")


def _options(kept: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    for name in sorted({*kept["options"], *now["options"]}):
        before, after = kept["options"].get(name), now["options"].get(name)
        if before != after:
            yield _attribute(name, before, after)


def _environment(kept: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    before, after = kept["environment"], now["environment"]
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            shown = (MASK if name in side else None for side in (before, after))
            yield _attribute(f"environment {name}", *shown)


def _attribute(name: str, before: Any, after: Any) -> dict[str, str]:
    texts = (NOTHING if side in (None, "") else str(side) for side in (before, after))
    return dict(zip(("name", "before", "after"), (name, *texts), strict=True))
