"""What serves, against what we deployed: code, settings, environment, and the version that gets the traffic. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping
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


def findings(
    name: str, kept: Mapping[str, Any], observed: Observed | None, named: Collection[str] | None = None
) -> list[Finding]:
    """What somebody else has changed since: one finding for what a deployment puts back, and one for what it does not.

    The latter are options that are not ``named`` in the spec; all are where that is not given.
    """
    address = f"function {name}"
    if observed is None:
        return [finding(address, "delete")]
    now = keep(observed, kept["salt"])
    options = list(_options(kept, now))
    left = [] if named is None else [item for item in options if item["name"] not in named]
    back = [*_plain(kept, now), *(item for item in options if item not in left), *_environment(kept, now)]
    found = [finding(address, "update", back, digest(now["environment"]))] if back else []
    return found + ([finding(address, "update", left, unmanaged=True)] if left else [])


def images(kept: Mapping[str, Any], observed: Observed | None) -> list[dict[str, Any]]:
    """The image that was deployed and the one that serves, of a function that runs one."""
    if "@" not in str(kept["artifact"]):
        return []
    name, _, deployed = str(kept["artifact"]).partition("@")
    serving = str(observed.artifact or "").partition("@")[2] if observed else ""
    return [
        {
            "image": name.rpartition("/")[2].partition(":")[0],
            "deployed": deployed,
            "serving": [serving] if observed else [],
        }
    ]


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
