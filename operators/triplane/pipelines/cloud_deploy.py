"""Google Cloud Deploy over REST: a release, its rollout to a target, promotion, approval, rollback."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from triplane.core.errors import InputError, TransientError
from triplane.forge.rest import Client, NotThere, Rejected
from triplane.pipelines.pipeline import (
    TAIL,
    Approval,
    PipelineFailed,
    Stage,
    Standing,
    State,
    Wanted,
    failed_first,
)

API = "https://clouddeploy.googleapis.com/v1"
LOGGING = "https://logging.googleapis.com/v2"
STATES: dict[str, State] = {
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "APPROVAL_REJECTED": "failed",
    "HALTED": "failed",
    "CANCELLED": "cancelled",
}
PHASES = {"SUCCEEDED": "succeeded", "SKIPPED": "succeeded", "FAILED": "failed", "ABORTED": "cancelled"}
JOBS = ("deployJobRun", "verifyJobRun", "predeployJobRun", "postdeployJobRun")
ANNOTATION = "triplane-revision"
REVISION = "{revision}"
ADVANCE = "advance/"
OPERATION_SECONDS, LOOK_SECONDS = 120.0, 1.0
ALREADY_EXISTS = 6
"""The status of an operation that an earlier try's has overtaken."""


class CloudDeploy:
    """One delivery pipeline. A run is ``<release>/<rollout>``, both named by the token.

    ``target`` is the pipeline's first one by default. ``release`` takes one that is there, to promote it; otherwise one
    is made of ``source`` (a ``gs://`` archive with the Skaffold configuration; ``{revision}`` in it is replaced) and
    ``images`` (name -> reference). ``rollback`` goes back in ``target`` to ``release``, by default to the one before.
    """

    def __init__(
        self,
        client: Client,
        logging: Client,
        *,
        project: str,
        region: str,
        pipeline: str,
        target: str = "",
        release: str = "",
        source: str = "",
        config: str = "",
        images: Mapping[str, str] | None = None,
        rollback: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._logging = logging
        self._sleep = sleep
        self.project, self.region, self.pipeline = project, region, pipeline
        self.target, self.release, self.rollback = target, release, rollback
        self.source, self.config, self.images = source, config, dict(images or {})
        self._place = f"/projects/{project}/locations/{region}"
        self._base = f"{self._place}/deliveryPipelines/{pipeline}"

    def find(self, wanted: Wanted, since: datetime) -> str | None:
        """A rollout is found by its name; making a release or rollout again that is there changes nothing."""
        if self.rollback and not self.release:
            return next((run for run, each in self._rollouts() if run.endswith(f"/{_rollout(wanted)}")), None)
        run = f"{self.release or _release(wanted)}/{_rollout(wanted)}"
        try:
            self._rollout(run)
        except NotThere:
            return None
        return run

    def start(self, wanted: Wanted) -> str:
        target = self.target or self._first_target()
        if self.rollback:
            return self._roll_back(wanted, target)
        release = self.release or self._make_release(wanted)
        path = f"{self._base}/releases/{release}/rollouts?rolloutId={_rollout(wanted)}"
        self._make(path, {"targetId": target})
        return f"{release}/{_rollout(wanted)}"

    def standing(self, run: str) -> Standing:
        try:
            rollout = self._rollout(run)
            release = self._release(run)
        except NotThere as error:
            raise InputError(f"delivery pipeline {self.pipeline} has no rollout {run} any more") from error
        state = STATES.get(rollout["state"], "running")
        stages = (_render(release, rollout["targetId"]), *_phases(rollout))
        said = (rollout.get("failureReason"), rollout.get("deployFailureCause"), *failed_first(stages))
        why = " ".join([rollout["state"], *dict.fromkeys(each for each in said if each)])
        return Standing(
            state=state,
            reason=why if state in ("failed", "cancelled") else "",
            stages=stages,
            waits=tuple(_waits(rollout)) if state == "running" else (),
            revision=str(release.get("annotations", {}).get(ANNOTATION, "")),
            results={"release": f"{self._console()}/releases/{run.partition('/')[0]}"},
        )

    def log(self, run: str) -> list[str]:
        build = self._failed_build(run)
        if not build:
            return []
        identity = build.rpartition("/")[2]
        asked = {
            "resourceNames": [f"projects/{self.project}"],
            "filter": f'resource.type="build" AND resource.labels.build_id="{identity}"',
            "orderBy": "timestamp desc",
            "pageSize": TAIL,
        }
        found = self._logging.call("POST", "/entries:list", asked).get("entries", ())
        return [str(entry.get("textPayload", "")) for entry in reversed(found)]

    def cancel(self, run: str) -> None:
        try:
            self._client.call("POST", f"{self._path(run)}:cancel", {})
        except (Rejected, NotThere):
            if self.standing(run).state == "running":
                raise

    def decide(self, run: str, approval: Approval, approved: bool, comment: str) -> None:
        """Google keeps no comment. A canary's next phase is advanced to, or its rollout cancelled."""
        if not approval.id.startswith(ADVANCE):
            self._client.call("POST", f"{self._path(run)}:approve", {"approved": approved})
        elif approved:
            phase = {"phaseId": approval.id.removeprefix(ADVANCE)}
            self._client.call("POST", f"{self._path(run)}:advance", phase)
        else:
            self.cancel(run)

    def link(self, run: str) -> str:
        release, _, rollout = run.partition("/")
        return f"{self._console()}/releases/{release}/rollouts/{rollout}?project={self.project}"

    def newest(self) -> str | None:
        target = self.target or self._first_target()
        good = (
            run
            for run, each in self._rollouts()
            if (each["targetId"], each["state"]) == (target, "SUCCEEDED")
        )
        return next(good, None)

    def _console(self) -> str:
        return f"https://console.cloud.google.com/deploy/delivery-pipelines/{self.region}/{self.pipeline}"

    def _path(self, run: str) -> str:
        release, _, rollout = run.partition("/")
        return f"{self._base}/releases/{release}/rollouts/{rollout}"

    def _rollout(self, run: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._client.call("GET", self._path(run))
        return found

    def _release(self, run: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._client.call("GET", f"{self._base}/releases/{run.partition('/')[0]}")
        return found

    def _first_target(self) -> str:
        found = self._client.call("GET", self._base)
        stages = found.get("serialPipeline", {}).get("stages", [])
        if not stages:
            raise InputError(f"delivery pipeline {self.pipeline} has no stages")
        return str(stages[0]["targetId"])

    def _make_release(self, wanted: Wanted) -> str:
        if not self.source:
            raise InputError(
                f"delivery pipeline {self.pipeline}: a release needs `source`, or name one with `release`"
            )
        body = {
            "skaffoldConfigUri": self.source.replace(REVISION, wanted.revision),
            "buildArtifacts": [{"image": name, "tag": tag} for name, tag in sorted(self.images.items())],
            "deployParameters": dict(wanted.inputs),
            "annotations": {ANNOTATION: wanted.revision} if wanted.revision else {},
            **({"skaffoldConfigPath": self.config} if self.config else {}),
        }
        self._make(f"{self._base}/releases?releaseId={_release(wanted)}", body)
        return _release(wanted)

    def _roll_back(self, wanted: Wanted, target: str) -> str:
        release = self.release or self._before(target)
        body = {"targetId": target, "releaseId": release, "rolloutId": _rollout(wanted)}
        try:
            self._client.call("POST", f"{self._base}:rollbackTarget", body)
        except Rejected as error:
            if error.status != 409:
                raise
        return f"{release}/{_rollout(wanted)}"

    def _before(self, target: str) -> str:
        """The release that was good in ``target`` before what is there now."""
        good = [
            run.partition("/")[0]
            for run, each in self._rollouts()
            if each["targetId"] == target and each["state"] == "SUCCEEDED"
        ]
        found = next((release for release in good if release != good[0]), None)
        if found is None:
            raise InputError(f"{self.pipeline}: target {target} has no earlier release to go back to")
        return found

    def _rollouts(self) -> list[tuple[str, Mapping[str, Any]]]:
        """All rollouts of the pipeline by their run, the newest first."""
        found: list[Mapping[str, Any]] = []
        token = ""
        while True:
            more = f"&pageToken={token}" if token else ""
            page = self._client.call("GET", f"{self._base}/releases/-/rollouts?pageSize=200{more}") or {}
            found += page.get("rollouts", ())
            token = page.get("nextPageToken", "")
            if not token:
                break
        found.sort(key=lambda each: each["createTime"], reverse=True)
        return [(_run(each["name"]), each) for each in found]

    def _make(self, path: str, body: Mapping[str, Any]) -> None:
        """Create what may be there already, and wait until it is there."""
        try:
            operation = self._client.call("POST", path, body)
        except Rejected as error:
            if error.status == 409:
                return
            raise
        waited = 0.0
        while not operation.get("done"):
            if waited >= OPERATION_SECONDS:
                raise TransientError(f"{operation['name']} did not end within {OPERATION_SECONDS:g} s")
            self._sleep(LOOK_SECONDS)
            waited += LOOK_SECONDS
            operation = self._client.call("GET", f"/{operation['name']}")
        problem = operation.get("error")
        if problem and problem.get("code") != ALREADY_EXISTS:
            raise PipelineFailed(f"{self.pipeline}: {problem.get('message')}")

    def _failed_build(self, run: str) -> str:
        """The Cloud Build build that failed, of a job or of the rendering."""
        runs = self._client.call("GET", f"{self._path(run)}/jobRuns?pageSize=200") or {}
        for job in runs.get("jobRuns", ()):
            found: Mapping[str, Any] = next((job[name] for name in JOBS if name in job), {})
            if job.get("state") == "FAILED" and found.get("build"):
                return str(found["build"])
        renders = self._release(run).get("targetRenders", {})
        failed = [each for each in renders.values() if each.get("renderingState") == "FAILED"]
        return str(failed[0].get("renderingBuild", "")) if failed else ""


def _run(name: str) -> str:
    """``<release>/<rollout>`` of a rollout's full name."""
    *_, release, _, rollout = name.split("/")
    return f"{release}/{rollout}"


def _release(wanted: Wanted) -> str:
    return f"r-{wanted.token}"


def _rollout(wanted: Wanted) -> str:
    return f"t-{wanted.token}"


def _render(release: Mapping[str, Any], target: str) -> Stage:
    state = {"SUCCEEDED": "succeeded", "FAILED": "failed"}.get(release.get("renderState", ""), "running")
    render = release.get("targetRenders", {}).get(target, {})
    said = str(render.get("failureMessage") or render.get("failureCause") or "")
    return Stage(name="render", state=state, reason=said if state == "failed" else "")


def _phases(rollout: Mapping[str, Any]) -> Iterator[Stage]:
    for phase in rollout.get("phases", ()):
        state = PHASES.get(phase["state"], "running")
        reason = str(phase.get("skipMessage", "")) if phase["state"] == "SKIPPED" else ""
        yield Stage(name=f"{rollout['targetId']}/{phase['id']}", state=state, reason=reason)


def _waits(rollout: Mapping[str, Any]) -> Iterator[Approval]:
    if rollout["state"] == "PENDING_APPROVAL":
        yield Approval(name=rollout["targetId"], id="approval")
    phases = [phase["state"] for phase in rollout.get("phases", ())]
    if rollout["state"] == "IN_PROGRESS" and "SUCCEEDED" in phases and "IN_PROGRESS" not in phases:
        following = next((phase["id"] for phase in rollout["phases"] if phase["state"] == "PENDING"), None)
        if following:
            yield Approval(name=f"{rollout['targetId']}/{following}", id=f"{ADVANCE}{following}")
