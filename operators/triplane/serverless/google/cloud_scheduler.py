"""Cloud Scheduler: a job that posts to the URL of a Cloud Run service, or to any other."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

from triplane.core.errors import InputError
from triplane.serverless.events.schedules import COMMON, expression, one_target, retries
from triplane.serverless.events.source import Done, Found, Options, Progress, Wanted, text_of
from triplane.serverless.google.services import joined, url_of
from triplane.serverless.rest import Api
from triplane.serverless.target import DeployFailed, Log

MOST_RETRIES = 5
_OURS: Final = ("schedule", "timeZone", "httpTarget", "retryConfig")
# What the service adds to a job, and what it fills in where nothing is given.
_DEFAULTS: Final = {
    "maxRetryDuration": "0s",
    "minBackoffDuration": "5s",
    "maxBackoffDuration": "3600s",
    "maxDoublings": 5,
}
_ANSWER_ONLY: Final = frozenset(
    {"name", "state", "userUpdateTime", "lastAttemptTime", "scheduleTime", "status", "satisfiesPzs"}
)
BROKEN: Final = ("UPDATE_FAILED", "DISABLED")
"""States of the service's own making: it may not run, and an update mends it."""
DEADLINE = "180s"
JSON = {"Content-Type": "application/json"}


class CloudScheduler:
    """Jobs of one project and region. ``scheduler`` and ``run`` are the APIs ``v1`` and ``v2`` of the two services."""

    options = COMMON | {"service_account", "path"}
    fixed: frozenset[str] = frozenset()

    def __init__(self, scheduler: Api, run: Api, *, project: str, region: str) -> None:
        self._api = scheduler
        self._run = run
        self._parent = f"projects/{project}/locations/{region}"

    def settings(self, name: str, options: Options) -> dict[str, Any]:
        one_target(name, options)
        if options.get("dead_letter"):
            raise InputError(
                f"{name}: Cloud Scheduler has no dead letters; call a Pub/Sub topic's URL instead"
            )
        if options.get("url"):
            base = url = options["url"]
        else:
            base = url_of(self._run, self._parent, options["function"])
            url = joined(base, options.get("path"))
        account = options.get("service_account") or ""
        return {
            "schedule": expression("cloud_scheduler", options),
            "timezone": options.get("timezone") or "UTC",
            "calls": url,
            "method": "POST",
            "service_account": account,
            # Cloud Run takes tokens for the service's URL, without a path.
            "audience": base if account else "",
            "payload": text_of(options.get("payload")),
            "retries": retries(name, options, MOST_RETRIES, 0),
            "enabled": options.get("enabled", True),
            "other": {},
        }

    def observe(self, wanted: Wanted) -> Found | None:
        job = self._api.get(self._path(wanted))
        if job is None:
            return None
        return Found(settings=_settings(job), id=str(job["name"]), raw=job)

    def apply(self, wanted: Wanted, found: Found | None, log: Log) -> Progress:
        """Creating a job that is paused takes two calls: a pause follows the creation at once."""
        settings = wanted.known()
        return self._bring(wanted, _body(settings), settings, found, log)

    def restore(self, wanted: Wanted, previous: Found | None, log: Log) -> Progress:
        if previous is None:
            return self.delete(wanted)
        body = {key: value for key, value in previous.raw.items() if key not in _ANSWER_ONLY}
        log(f"{wanted.name}: putting back the job of before")
        return self._bring(wanted, body, previous.settings, self.observe(wanted), log)

    def delete(self, wanted: Wanted) -> Progress:
        self._api.call("DELETE", self._path(wanted), missing_ok=True)
        return Done()

    def _bring(
        self,
        wanted: Wanted,
        body: Mapping[str, Any],
        settings: Mapping[str, Any],
        found: Found | None,
        log: Log,
    ) -> Progress:
        if found is not None and found.settings == settings:
            return Done()
        running = found.settings["enabled"] if found else True
        if found is not None and running and not settings["enabled"]:
            self._switch(wanted, "pause", log)
            running = False
        if found is None:
            log(f"{wanted.name}: creating the job {settings['schedule']}")
            self._api.call(
                "POST", f"v1/{self._parent}/jobs", {**body, "name": self._path(wanted).removeprefix("v1/")}
            )
        elif _without(found.settings, "enabled") != _without(settings, "enabled"):
            log(f"{wanted.name}: updating the job {settings['schedule']}")
            mask = ",".join(dict.fromkeys([*_OURS, *_changed(body, found.raw)]))
            self._api.call("PATCH", self._path(wanted), body, query={"updateMask": mask})
        if running != settings["enabled"]:
            self._switch(wanted, "resume" if settings["enabled"] else "pause", log)
        return Done()

    def _switch(self, wanted: Wanted, verb: str, log: Log) -> None:
        log(f"{wanted.name}: {verb}")
        if self._api.call("POST", f"{self._path(wanted)}:{verb}", {}, missing_ok=True) is None:
            raise DeployFailed(f"{wanted.name}: somebody deleted the job meanwhile")

    def _path(self, wanted: Wanted) -> str:
        return f"v1/{self._parent}/jobs/{wanted.name}"


def _body(settings: Mapping[str, Any]) -> dict[str, Any]:
    target: dict[str, Any] = {"uri": settings["calls"], "httpMethod": settings["method"], "headers": JSON}
    if settings["payload"]:
        target["body"] = base64.b64encode(settings["payload"].encode()).decode()
    if settings["service_account"]:
        target["oidcToken"] = {
            "serviceAccountEmail": settings["service_account"],
            "audience": settings["audience"],
        }
    return {
        "schedule": settings["schedule"],
        "timeZone": settings["timezone"],
        "httpTarget": target,
        "retryConfig": {"retryCount": settings["retries"]},
    }


def _settings(job: Mapping[str, Any]) -> dict[str, Any]:
    """``other`` holds what a deployment never sets."""
    rest = {key: value for key, value in job.items() if key not in _ANSWER_ONLY}
    http, retry = dict(rest.pop("httpTarget", None) or {}), dict(rest.pop("retryConfig", None) or {})
    token, headers = dict(http.pop("oidcToken", None) or {}), dict(http.pop("headers", None) or {})
    settings = {
        "schedule": rest.pop("schedule", ""),
        "timezone": rest.pop("timeZone", "UTC"),
        "calls": http.pop("uri", ""),
        "method": http.pop("httpMethod", "POST"),
        "service_account": token.pop("serviceAccountEmail", ""),
        "audience": token.pop("audience", ""),
        "payload": base64.b64decode(http.pop("body", "")).decode(errors="replace"),
        "retries": retry.pop("retryCount", 0),
        "enabled": job.get("state", "ENABLED") not in ("PAUSED", "DISABLED"),
    }
    headers = {key: value for key, value in headers.items() if key != "User-Agent" and JSON.get(key) != value}
    if rest.get("attemptDeadline") == DEADLINE:
        del rest["attemptDeadline"]
    retry = {key: value for key, value in retry.items() if _DEFAULTS.get(key) != value}
    other = {**rest, **http, **token, **retry, **({"headers": headers} if headers else {})}
    if job.get("state") in BROKEN:
        other["state"] = job["state"]
    return {**settings, "other": {key: str(value) for key, value in other.items()}}


def _changed(body: Mapping[str, Any], raw: Mapping[str, Any]) -> list[str]:
    """Fields beside ours that are to be set back."""
    keys = {*body, *raw} - _ANSWER_ONLY - {*_OURS}
    default = {"attemptDeadline": DEADLINE}
    return sorted(key for key in keys if body.get(key, default.get(key)) != raw.get(key, default.get(key)))


def _without(settings: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != key}
