"""Cloud Deploy: delivery pipelines, releases that render, rollouts that deploy, wait for approval, or fail.

What the source holds is not read. The pipeline's name says how its rollouts end: one that holds ``fails`` ends badly,
with a log; one that holds ``hangs`` does not end.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from typing import Any

from triplane.sandbox.gcp.errors import ApiError, conflict, invalid
from triplane.sandbox.gcp.logs import Logs
from triplane.sandbox.gcp.operations import timestamp
from triplane.sandbox.gcp.state import PROJECT, Body, Call, Handler, State

PREFIX = "clouddeploy.projects.locations"
NAME = r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?"
MESSAGE = "type.googleapis.com/google.cloud.deploy.v1."
RENDER_SECONDS, DEPLOY_SECONDS = 0.15, 0.2
LOG = (
    "Fetching source",
    "kubectl apply -f manifest.yaml",
    "error: deployment page exceeded its progress deadline",
)
ENDED = ("SUCCEEDED", "FAILED", "CANCELLED", "APPROVAL_REJECTED", "HALTED")


class CloudDeploy:
    """``projects.locations`` of Cloud Deploy."""

    def __init__(self, state: State, logs: Logs) -> None:
        self._state = state
        self._logs = logs
        self._began: dict[str, float] = {}

    def handlers(self) -> dict[str, Handler]:
        pipelines = f"{PREFIX}.deliveryPipelines"
        releases = f"{pipelines}.releases"
        rollouts = f"{releases}.rollouts"
        return {
            f"{PREFIX}.operations.get": lambda call: self._state.operations.get(call.params["name"]),
            f"{PREFIX}.targets.create": self._maker("targets", "targetId", "Target", _check_target),
            f"{PREFIX}.targets.get": self.get,
            f"{pipelines}.create": self._maker(
                "deliveryPipelines", "deliveryPipelineId", "DeliveryPipeline", self._check_pipeline
            ),
            f"{pipelines}.get": self.get,
            f"{pipelines}.rollbackTarget": self.rollback,
            f"{releases}.create": self.release,
            f"{releases}.get": self.get,
            f"{releases}.list": lambda call: {"releases": self._list(f"{call.params['parent']}/releases")},
            f"{releases}.abandon": self.abandon,
            f"{rollouts}.create": self.roll_out,
            f"{rollouts}.get": self.get,
            f"{rollouts}.list": lambda call: {"rollouts": self._list(f"{call.params['parent']}/rollouts")},
            f"{rollouts}.approve": self.approve,
            f"{rollouts}.cancel": self.cancel,
            f"{rollouts}.jobRuns.list": self.job_runs,
        }

    def get(self, call: Call) -> Body:
        self._settle(call.params["name"])
        return self._state.get(call.params["name"])

    def release(self, call: Call) -> Body:
        """Make a release and begin to render it."""
        parent, name = call.params["parent"], _identity(call, "releaseId")
        pipeline, body, full = self._state.get(parent), call.body, f"{parent}/releases/{name}"
        self._state.require_absent(full)
        if not re.match(r"gs://[a-z0-9._-]+/.+", body.get("skaffoldConfigUri", "")):
            raise invalid(
                "release.skaffold_config_uri", "skaffold_config_uri must be a gs:// URI of an archive"
            )
        targets = [stage["targetId"] for stage in pipeline["serialPipeline"]["stages"]]

        def finish() -> Body:
            self._state.require_absent(full)
            self._began[full] = time.monotonic()
            build = f"projects/{PROJECT}/locations/{_location(parent)}/builds/{uuid.uuid4()}"
            render = {"renderingBuild": build, "renderingState": "IN_PROGRESS"}
            self._state.resources[full] = {
                **body, "name": full, "uid": uuid.uuid4().hex, "createTime": timestamp(),
                "renderState": "IN_PROGRESS", "deliveryPipelineSnapshot": pipeline,
                "targetRenders": {target: dict(render) for target in targets},
            }  # fmt: skip
            return self._state.get(full)

        return self._operation("create", full, finish, "Release")

    def roll_out(self, call: Call) -> Body:
        """Begin a rollout; one of a release that is not rendered yet waits for it."""
        parent, name = call.params["parent"], _identity(call, "rolloutId")
        return self._begin(parent, name, str(call.body.get("targetId", "")), {})

    def rollback(self, call: Call) -> Body:
        """A rollout of an earlier release."""
        body = call.body
        if not body.get("releaseId"):
            raise invalid("release_id", "the sandbox goes back to a release that is named")
        parent = f"{call.params['name']}/releases/{body['releaseId']}"
        self._state.get(parent)
        if not re.fullmatch(NAME, body.get("rolloutId", "")):
            raise invalid("rollout_id", f'invalid rollout ID "{body.get("rolloutId", "")}"')
        if f"{parent}/rollouts/{body['rolloutId']}" in self._state.resources:
            raise conflict(f"{parent}/rollouts/{body['rolloutId']}")
        self._put(parent, body["rolloutId"], body.get("targetId", ""))
        return {"rollbackConfig": {"rollout": {"targetId": body.get("targetId", "")}}}

    def approve(self, call: Call) -> Body:
        name = call.params["name"]
        rollout = self._live(name)
        if rollout["state"] != "PENDING_APPROVAL":
            raise ApiError(400, f"Rollout is in state {rollout['state']}", status="FAILED_PRECONDITION")
        if call.body.get("approved"):
            rollout |= {"approvalState": "APPROVED", "state": "IN_PROGRESS", "approveTime": timestamp()}
            self._began[name] = time.monotonic()
        else:
            rollout |= {"approvalState": "REJECTED", "state": "APPROVAL_REJECTED"}
        return {}

    def cancel(self, call: Call) -> Body:
        rollout = self._live(call.params["name"])
        if rollout["state"] in ENDED:
            raise ApiError(400, f"Rollout is in state {rollout['state']}", status="FAILED_PRECONDITION")
        rollout["state"] = "CANCELLED"
        for phase in rollout["phases"]:
            phase["state"] = "ABORTED"
        return {}

    def abandon(self, call: Call) -> Body:
        self._state.live(call.params["name"])["abandoned"] = True
        return {}

    def job_runs(self, call: Call) -> Body:
        """One run of the deploy job, once it has begun."""
        rollout = self._live(call.params["parent"])
        if rollout["state"] not in ("IN_PROGRESS", "SUCCEEDED", "FAILED"):
            return {"jobRuns": []}
        failed = {"failureCause": "EXECUTION_FAILED", "failureMessage": "Deploy failed"}
        deploy = {"build": rollout["deployingBuild"], **(failed if rollout["state"] == "FAILED" else {})}
        name = f"{call.params['parent']}/jobRuns/{rollout['uid']}"
        job = {"name": name, "phaseId": "stable", "jobId": "deploy", "state": rollout["state"]}
        return {"jobRuns": [{**job, "deployJobRun": deploy}]}

    def _maker(
        self, collection: str, parameter: str, kind: str, check: Callable[[str, Body], None]
    ) -> Handler:
        def make(call: Call) -> Body:
            parent, name = call.params["parent"], _identity(call, parameter)
            full = f"{parent}/{collection}/{name}"
            self._state.require_absent(full)
            check(parent, call.body)

            def finish() -> Body:
                self._state.require_absent(full)
                own = {"name": full, "uid": uuid.uuid4().hex, "createTime": timestamp()}
                self._state.resources[full] = {**call.body, **own}
                return self._state.get(full)

            return self._operation("create", full, finish, kind)

        return make

    def _check_pipeline(self, parent: str, body: Body) -> None:
        stages = body.get("serialPipeline", {}).get("stages", [])
        if not stages:
            raise invalid("delivery_pipeline.serial_pipeline", "a pipeline needs stages")
        for stage in stages:
            self._state.get(f"{parent}/targets/{stage.get('targetId', '')}")

    def _begin(self, parent: str, name: str, target: str, more: Body) -> Body:
        release, full = self._state.get(parent), f"{parent}/rollouts/{name}"
        self._state.require_absent(full)
        stages = release["deliveryPipelineSnapshot"]["serialPipeline"]["stages"]
        if target not in [stage["targetId"] for stage in stages]:
            raise invalid(
                "rollout.target_id", f"target {target} is not in the delivery pipeline of the release"
            )
        if release.get("abandoned"):
            raise ApiError(400, "The release is abandoned", status="FAILED_PRECONDITION")

        def finish() -> Body:
            self._state.require_absent(full)
            self._put(parent, name, target)
            return self._state.get(full)

        return self._operation("create", full, finish, "Rollout")

    def _put(self, parent: str, name: str, target: str) -> None:
        location = parent.partition("/deliveryPipelines/")[0]
        asks = self._state.get(f"{location}/targets/{target}").get("requireApproval", False)
        full = f"{parent}/rollouts/{name}"
        self._began[full] = time.monotonic()
        self._state.resources[full] = {
            "name": full, "uid": uuid.uuid4().hex, "targetId": target, "createTime": timestamp(),
            "approvalState": "NEEDS_APPROVAL" if asks else "DOES_NOT_NEED_APPROVAL",
            "state": "PENDING_RELEASE", "deployingBuild": f"{location}/builds/{uuid.uuid4()}",
            "phases": [{"id": "stable", "state": "PENDING", "deploymentJobs": {"deployJob": {"id": "deploy"}}}],
        }  # fmt: skip

    def _operation(self, verb: str, full: str, finish: Callable[[], Body], kind: str) -> Body:
        parent = full.partition("/deliveryPipelines/")[0].partition("/targets/")[0]
        operations = self._state.operations
        return operations.start(parent, "longrunning", verb, full, finish, type=f"{MESSAGE}{kind}")

    def _list(self, collection: str) -> list[Body]:
        for body in self._state.below(collection):
            self._settle(body["name"])
        return self._state.below(collection)

    def _live(self, name: str) -> Body:
        self._settle(name)
        return self._state.live(name)

    def _settle(self, name: str) -> None:
        """What has happened to a release or rollout since it was looked at last."""
        if "/rollouts/" in name:
            self._settle(name.partition("/rollouts/")[0])
            self._go_on(name, self._state.live(name))
        elif "/releases/" in name:
            release = self._state.live(name)
            if release["renderState"] == "IN_PROGRESS" and self._since(name) > RENDER_SECONDS:
                release["renderState"] = "SUCCEEDED"
                for render in release["targetRenders"].values():
                    render["renderingState"] = "SUCCEEDED"

    def _go_on(self, name: str, rollout: Body) -> None:
        release = self._state.live(name.partition("/rollouts/")[0])
        if rollout["state"] == "PENDING_RELEASE" and release["renderState"] == "SUCCEEDED":
            asks = rollout["approvalState"] == "NEEDS_APPROVAL"
            rollout["state"] = "PENDING_APPROVAL" if asks else "IN_PROGRESS"
            self._began[name] = time.monotonic()
        if rollout["state"] != "IN_PROGRESS":
            return
        pipeline = name.partition("/deliveryPipelines/")[2].partition("/")[0]
        phase = rollout["phases"][0]
        phase["state"] = "IN_PROGRESS"
        if "hangs" in pipeline or self._since(name) < DEPLOY_SECONDS:
            return
        if "fails" in pipeline:
            rollout |= {"state": "FAILED", "deployFailureCause": "EXECUTION_FAILED"}
            rollout["failureReason"] = "The deploy job failed: the execution ended with an error"
            phase["state"] = "FAILED"
            self._logs.add_build(rollout["deployingBuild"].rpartition("/")[2], LOG)
        else:
            rollout["state"] = phase["state"] = "SUCCEEDED"
        rollout["deployEndTime"] = timestamp()

    def _since(self, name: str) -> float:
        return time.monotonic() - self._began[name]


def _check_target(parent: str, body: Body) -> None:
    kinds = [kind for kind in ("gke", "run", "anthosCluster", "multiTarget", "customTarget") if kind in body]
    if len(kinds) != 1:
        raise invalid("target", "a target needs exactly one kind of place to deploy to")


def _identity(call: Call, parameter: str) -> str:
    name: Any = call.params.get(parameter, "")
    if not re.fullmatch(NAME, name):
        raise invalid(parameter, f'invalid ID "{name}"')
    return str(name)


def _location(name: str) -> str:
    return name.split("/")[3]
