"""Cloud Scheduler: jobs with an HTTP target, which really call it, by the clock and when ``jobs.run`` says so."""

from __future__ import annotations

import base64
import re
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from croniter import croniter  # type: ignore[import-untyped]

from triplane.sandbox.gcp.errors import ApiError, invalid
from triplane.sandbox.gcp.operations import timestamp
from triplane.sandbox.gcp.outgoing import Outgoing
from triplane.sandbox.gcp.state import Body, Call, Handler, State, merge

PREFIX = "cloudscheduler.projects.locations.jobs"
TARGETS = ("httpTarget", "pubsubTarget", "appEngineHttpTarget")
RETRY = {
    "maxRetryDuration": "0s", "minBackoffDuration": "5s", "maxBackoffDuration": "3600s", "maxDoublings": 5
}  # fmt: skip
WITH_BODY = ("POST", "PUT", "PATCH")
OWN = {"state", "userUpdateTime", "scheduleTime", "lastAttemptTime", "status"}
CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 10, 429: 8, 500: 13, 501: 12, 503: 14, 504: 4}


class Scheduler:
    """``projects.locations.jobs``. ``lock`` guards the state while a job runs beside the requests."""

    def __init__(self, state: State, outgoing: Outgoing, lock: threading.RLock) -> None:
        self._state = state
        self._outgoing = outgoing
        self._lock = lock
        self._stop = threading.Event()
        self._changed = threading.Condition(lock)
        self._clock: threading.Thread | None = None

    def handlers(self) -> dict[str, Handler]:
        return {
            f"{PREFIX}.create": self.create,
            f"{PREFIX}.get": lambda call: self._state.get(self._found(call)),
            f"{PREFIX}.list": lambda call: {"jobs": self._state.below(f"{call.params['parent']}/jobs")},
            f"{PREFIX}.patch": self.patch,
            f"{PREFIX}.delete": self.delete,
            f"{PREFIX}.pause": self._switch("ENABLED", "PAUSED"),
            f"{PREFIX}.resume": self._switch("PAUSED", "ENABLED"),
            f"{PREFIX}.run": self.run,
        }

    def create(self, call: Call) -> Body:
        parent = f"{call.params['parent']}/jobs"
        full = call.body.get("name") or f"{parent}/{uuid.uuid4().int % 10**20}"
        if not re.fullmatch(rf"{re.escape(parent)}/[A-Za-z0-9_-]{{1,500}}", full):
            raise invalid("job.name", f"Job name must be formatted: \"{parent}/<JOB_ID>\", not '{full}'.")
        if full in self._state.resources:
            raise ApiError(409, f"Job {full} already exists.")
        self._state.resources[full] = _filled({**call.body, "name": full, "state": "ENABLED"})
        self.look()
        return self._state.get(full)

    def patch(self, call: Call) -> Body:
        full = self._found(call)
        wanted = self._state.get(full)
        mask = call.params.get("updateMask")
        if set(_paths(mask)) & {"name", *OWN}:
            raise invalid("update_mask", "Field 'name' and output only fields cannot be updated.")
        merge(wanted, call.body, mask)
        self._state.resources[full] = _filled({**wanted, "name": full})
        self.look()
        return self._state.get(full)

    def delete(self, call: Call) -> Body:
        self._state.remove(self._found(call))
        return {}

    def run(self, call: Call) -> Body:
        """Answers at once; the calls are made beside."""
        full = self._found(call)
        self._start(full)
        return self._state.get(full)

    def look(self) -> None:
        """A job may be due sooner than was known."""
        with self._changed:
            if self._clock is None:
                self._clock = threading.Thread(target=self._watch, daemon=True)
                self._clock.start()
            self._changed.notify_all()

    def _watch(self) -> None:
        with self._changed:
            while True:
                now = datetime.now(UTC)
                jobs = [
                    body for name, body in self._state.resources.items() if re.search(r"/jobs/[^/]+$", name)
                ]
                waits = [60.0]
                for job in jobs:
                    if (wait := (_time(job["scheduleTime"]) - now).total_seconds()) > 0:
                        waits.append(wait)
                        continue
                    job["scheduleTime"] = _following(job)
                    if job["state"] == "ENABLED":
                        self._start(job["name"])
                self._changed.wait(min(waits))

    def _start(self, full: str) -> None:
        threading.Thread(target=self.attempts, args=(full,), daemon=True).start()

    def attempts(self, full: str) -> None:
        """Call the URL, again while it fails and the job's retries allow."""
        for number in range(6):
            with self._lock:
                job = self._state.resources.get(full)
                if job is None:
                    return
                job["lastAttemptTime"] = timestamp()
                target, retry = dict(job.get("httpTarget") or {}), job["retryConfig"]
            status = self._call(full, target)
            with self._lock:
                job["status"] = (
                    {} if 200 <= status < 300 else {"code": CODES.get(status, 14 if not status else 2)}
                )
            if not job["status"] or number >= retry.get("retryCount", 0):
                return
            first, most = _seconds(retry["minBackoffDuration"]), _seconds(retry["maxBackoffDuration"])
            self._stop.wait(min(first * 2 ** min(number, retry["maxDoublings"]), most))

    def _call(self, full: str, target: Body) -> int:
        headers = {**target.get("headers", {}), "X-CloudScheduler": "true"}
        headers |= {"X-CloudScheduler-JobName": full.rpartition("/")[2]}
        payload = base64.b64decode(target.get("body", ""))
        verb, uri = target.get("httpMethod", "POST"), target.get("uri", "")
        return self._outgoing.call(verb, uri, payload, headers, target.get("oidcToken"))

    def _switch(self, before: str, after: str) -> Callable[[Call], Body]:
        def handle(call: Call) -> Body:
            job = self._state.live(self._found(call))
            if job["state"] != before:
                verb = call.id.rpartition(".")[2]
                text = f"Job must be in state {before} to {verb}, it is {job['state']}."
                raise ApiError(400, text, status="FAILED_PRECONDITION")
            job["state"] = after
            return self._state.get(job["name"])

        return handle

    def _found(self, call: Call) -> str:
        full: str = call.params["name"]
        if full not in self._state.resources:
            raise ApiError(404, "Job not found.")
        return full


def _filled(job: Body) -> Body:
    """The job with what the service fills in. Raises 400."""
    targets = [name for name in TARGETS if name in job]
    if len(targets) != 1:
        raise invalid("job.target", "Exactly one target must be set on the job.")
    job.setdefault("timeZone", "UTC")
    try:
        ZoneInfo(job["timeZone"])
    except (KeyError, OSError, ValueError) as error:
        raise invalid("job.time_zone", f"Time zone '{job['timeZone']}' is invalid.") from error
    schedule = job.get("schedule", "")
    if not (croniter.is_valid(schedule) and len(schedule.split()) == 5):
        raise invalid("job.schedule", f"Schedule or time zone is invalid: '{schedule}'.")
    job["scheduleTime"] = _following(job)
    job["userUpdateTime"] = timestamp()
    job["retryConfig"] = {**RETRY, **job.get("retryConfig", {})}
    if not 0 <= job["retryConfig"].get("retryCount", 0) <= 5:
        raise invalid("job.retry_config.retry_count", "RetryConfig.retry_count must be between 0 and 5.")
    if "httpTarget" in job:
        job["attemptDeadline"] = job.get("attemptDeadline", "180s")
        if not 15 <= _seconds(job["attemptDeadline"]) <= 1800:
            raise invalid("job.attempt_deadline", "Attempt deadline must be between 15s and 1800s.")
        _check_http(job["httpTarget"])
    return job


def _following(job: Body) -> str:
    """When the job runs next."""
    found: datetime = croniter(job["schedule"], datetime.now(ZoneInfo(job["timeZone"]))).get_next(datetime)
    return found.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _check_http(target: Body) -> None:
    uri = target.get("uri", "")
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or not parts.hostname or len(uri) > 2083 or " " in uri:
        raise invalid("job.http_target.uri", f"HttpTarget.uri must be a valid http or https URI: '{uri}'.")
    verb = target.setdefault("httpMethod", "POST")
    if target.get("body") and verb not in WITH_BODY:
        raise invalid("job.http_target.body", f"A body is not allowed with method {verb}.")
    token = target.get("oidcToken")
    if token is not None:
        if "@" not in token.get("serviceAccountEmail", ""):
            raise invalid("job.http_target.oidc_token", "OidcToken.service_account_email is invalid.")
        token.setdefault("audience", uri)
    headers = target.setdefault("headers", {})
    headers["User-Agent"] = "Google-Cloud-Scheduler"
    if target.get("body"):
        headers.setdefault("Content-Type", "application/octet-stream")


def _paths(mask: str | None) -> list[str]:
    return [path.strip().partition(".")[0] for path in (mask or "").split(",")]


def _seconds(duration: str) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?s", duration):
        raise invalid("duration", f"Illegal duration format; duration must end with 's': '{duration}'")
    return float(duration[:-1])
