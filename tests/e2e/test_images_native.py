"""Builds by the clouds' own services, which the sandbox really runs, and whose images go to every cloud."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred
from airflow.triggers.base import TriggerEvent
from azure.core.exceptions import HttpResponseError
from azure.mgmt.containerregistrytasks import ContainerRegistryTasksMgmtClient
from google.auth.transport.requests import AuthorizedSession

from tests.e2e.test_images import REGISTRIES, environ, push, running, served, wait_for
from triplane.clouds import aws, azure, gcp
from triplane.images.builders import BuildRequest
from triplane.images.builders.codebuild import CodeBuild
from triplane.images.layout import restore
from triplane.images.native_operators import NativeImageBuildOperator
from triplane.images.services import Begun, connect, target
from triplane.images.triggers import ImageBuildTrigger
from triplane.sandbox.runtime import Sandbox
from triplane.settings import artifact_store

__all__ = ["environ"]

CLOUDS = {"codebuild": "aws", "cloud_build": "gcp", "acr_tasks": "azure"}
OPTIONS: Mapping[str, Mapping[str, str]] = {
    "codebuild": {"project": "streaming-images", "bucket": "streaming-builds", "region": "eu-west-1"},
    "cloud_build": {"region": "europe-west1"},
    "acr_tasks": {"resource_group": "streaming"},
}
BASE = "FROM docker.io/library/busybox:1.36\n"
BUILDERS = tuple(OPTIONS)

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not (shutil.which("buildah") and shutil.which("skopeo")), reason="needs buildah and skopeo"
    ),
]


def options(builder: str) -> dict[str, Any]:
    registry, conn_id = REGISTRIES[CLOUDS[builder]]
    return {**OPTIONS[builder], "registry": registry, "conn_id": conn_id, "create": {}}


@pytest.fixture
def context(tmp_path: Path) -> Path:
    path = tmp_path / "context"
    path.mkdir()
    (path / "page").write_text(str(tmp_path))
    (path / "Dockerfile").write_text(f"{BASE}ARG V=none\nCOPY page /page\nRUN echo $V > /v && cat /v\n")
    return path


def operator(builder: str, context: Path, **kwargs: Any) -> NativeImageBuildOperator:
    return NativeImageBuildOperator(
        task_id="build", image="page", path=str(context), builder=builder, service=options(builder),
        interval=0.3, **kwargs,
    )  # fmt: skip


def deferred(operator: NativeImageBuildOperator) -> ImageBuildTrigger:
    """What the task waits for, as the triggerer makes it anew from its serialized form."""
    with pytest.raises(TaskDeferred) as waiting:
        operator.execute({})  # type: ignore[arg-type]
    path, arguments = waiting.value.trigger.serialize()
    assert path == "triplane.images.triggers.ImageBuildTrigger"
    assert waiting.value.method_name == "finish"
    return ImageBuildTrigger(**json.loads(json.dumps(arguments)))


def event(trigger: ImageBuildTrigger) -> dict[str, Any]:
    async def first() -> TriggerEvent:
        return await anext(aiter(trigger.run()))

    return dict(asyncio.run(first()).payload)


def begun(sandbox: Sandbox, builder: str) -> int:
    """How many builds the cloud has run so far."""
    return len(list((sandbox.home / "builds" / CLOUDS[builder]).glob("*/work")))


def runs_in_buildah(digest: str, scratch: Path) -> None:
    """Commands of the tests stage run in an image of Docker's own media types too."""
    restore(digest, artifact_store(), scratch / "layout")
    storage = ("--root", str(scratch / "root"), "--runroot", str(scratch / "run"), "--storage-driver", "vfs")
    command = ("buildah", *storage, "from", "--quiet", f"oci:{scratch / 'layout'}")
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("builder", BUILDERS)
def test_a_service_builds_and_every_cloud_serves_the_same_digest(
    builder: str,
    sandbox: Sandbox,
    environ: dict[str, str],
    context: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    task = operator(builder, context, build_args={"V": "it's me"})
    waited = event(deferred(task))
    output = capsys.readouterr()
    assert "it's me" in output.out + output.err
    built = task.finish({}, waited)  # type: ignore[arg-type]
    service = connect(builder, options(builder))
    assert built["digest"] == service.status(waited["build"]).digest
    for cloud, (registry, _) in REGISTRIES.items():
        assert push(cloud, built["digest"]).endswith(built["digest"])
        repository = "/".join([*registry.split("/")[1:], "page"])
        assert served(sandbox, cloud, repository, built["digest"]) == built["digest"]
    if builder == "codebuild":
        runs_in_buildah(built["digest"], context.parent)
    count = begun(sandbox, builder)
    assert task.execute({}) == built  # type: ignore[arg-type]
    assert begun(sandbox, builder) == count


def sleeper(context: Path, seconds: int) -> Callable[[], bool]:
    """Make the build sleep; the result tells whether it does."""
    (context / "Dockerfile").write_text(f"{BASE}COPY page /page\nRUN echo started; sleep {seconds}\n")
    return lambda: running(f"sleep {seconds}")


@pytest.mark.parametrize(("builder", "seconds"), list(zip(BUILDERS, (3601, 3602, 3603), strict=True)))
def test_a_person_who_ends_the_task_ends_the_build(
    builder: str, seconds: int, environ: dict[str, str], context: Path
) -> None:
    sleeps = sleeper(context, seconds)
    task = operator(builder, context)
    trigger = deferred(task)
    wait_for(sleeps)
    asyncio.run(trigger.on_kill())
    wait_for(lambda: not sleeps(), seconds=15)
    ended = event(trigger)
    with pytest.raises(AirflowException, match=f"build .* of {builder} failed: (STOPPED|CANCELLED|Canceled)"):
        task.finish({}, ended)  # type: ignore[arg-type]
    asyncio.run(trigger.on_kill())  # once more is no error


def test_a_killed_task_builds_no_second_time(
    sandbox: Sandbox, environ: dict[str, str], context: Path, tmp_path: Path
) -> None:
    builder = "acr_tasks"
    sleeps = sleeper(context, 3604)
    before = begun(sandbox, builder)
    code = (
        "from triplane.images.native_operators import NativeImageBuildOperator as B\n"
        f"B(task_id='b', image='page', path={str(context)!r}, builder={builder!r}, service={options(builder)!r},"
        " deferrable=False, interval=0.3).execute({})"
    )
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    task = subprocess.Popen([sys.executable, "-c", code], **quiet)
    try:
        wait_for(sleeps)
        wait_for(lambda: bool(list((tmp_path / "store/named").glob("*"))))
    finally:
        task.send_signal(signal.SIGKILL)
        task.wait()
    assert sleeps()
    again = deferred(operator(builder, context))
    assert begun(sandbox, builder) == before + 1
    asyncio.run(again.on_kill())
    wait_for(lambda: not sleeps(), seconds=15)
    assert deferred(operator(builder, context)).build != again.build
    assert begun(sandbox, builder) == before + 2
    asyncio.run(deferred(operator(builder, context)).on_kill())


@pytest.mark.parametrize(("builder", "seconds"), list(zip(BUILDERS, (3607, 3608, 3609), strict=True)))
def test_a_task_killed_before_it_noted_the_build_does_not_start_another(
    builder: str,
    seconds: int,
    sandbox: Sandbox,
    environ: dict[str, str],
    context: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sleeps = sleeper(context, seconds)
    with monkeypatch.context() as patched:
        kept = Begun._note
        patched.setattr(Begun, "_note", lambda self, build: None if build else kept(self, build))
        first = deferred(operator(builder, context))
    wait_for(sleeps)
    before = begun(sandbox, builder)
    if builder == "acr_tasks":
        with pytest.raises(AirflowException, match=f"run {first.build} may be its build") as asked:
            operator(builder, context).execute({})  # type: ignore[arg-type]
        assert not isinstance(asked.value, AirflowFailException)
    else:
        assert deferred(operator(builder, context)).build == first.build
    assert begun(sandbox, builder) == before
    asyncio.run(first.on_kill())
    wait_for(lambda: not sleeps(), seconds=15)


@pytest.mark.parametrize("builder", BUILDERS)
def test_a_failing_step_is_told_and_may_be_tried_again(
    builder: str,
    sandbox: Sandbox,
    environ: dict[str, str],
    context: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (context / "Dockerfile").write_text(f"{BASE}COPY page /page\nRUN echo because >&2; exit 3\n")
    task = operator(builder, context)
    first = deferred(task)
    ended = event(first)
    output = capsys.readouterr()
    assert "because" in output.out + output.err
    with pytest.raises(AirflowException, match=f"build {first.build} of {builder} failed: F") as failed:
        task.finish({}, ended)  # type: ignore[arg-type]
    assert not isinstance(failed.value, AirflowFailException)
    assert deferred(task).build != first.build


@pytest.mark.parametrize(
    ("builder", "gone"),
    [
        ("codebuild", "streaming-images:none"),
        ("cloud_build", "00000000-1111-4222-8333-444444444444"),
        ("acr_tasks", "ca99999"),
    ],
)
def test_a_build_that_the_service_has_forgotten_is_started_anew(
    builder: str, gone: str, environ: dict[str, str], context: Path
) -> None:
    sleeps = sleeper(context, 3614)
    first = deferred(operator(builder, context))
    wait_for(sleeps)
    asyncio.run(first.on_kill())
    Begun(builder, first.key)._note(gone)
    again = deferred(operator(builder, context))
    assert again.build not in (first.build, gone)
    wait_for(sleeps)
    asyncio.run(again.on_kill())
    wait_for(lambda: not sleeps(), seconds=15)


def test_on_kill_ends_a_build_that_the_worker_waits_for(environ: dict[str, str], context: Path) -> None:
    sleeps = sleeper(context, 3610)
    task = operator("cloud_build", context, deferrable=False)

    async def kill() -> None:
        while not sleeps():
            await asyncio.sleep(0.1)
        task.on_kill()

    killer = threading.Thread(target=lambda: asyncio.run(kill()))
    killer.start()
    with pytest.raises(AirflowException, match="stopped from outside"):
        task.execute({})  # type: ignore[arg-type]
    killer.join()
    wait_for(lambda: not sleeps(), seconds=15)


def test_the_time_limit_ends_the_build(environ: dict[str, str], context: Path) -> None:
    sleeps = sleeper(context, 3611)
    trigger = deferred(operator("acr_tasks", context))
    wait_for(sleeps)
    trigger.deadline = time.time()
    assert event(trigger)["status"]["reason"] == "it was cancelled at the task's time limit"
    wait_for(lambda: not sleeps(), seconds=15)


@pytest.mark.parametrize(("builder", "seconds"), [("codebuild", 3612), ("cloud_build", 3613)])
def test_two_who_ask_at_the_same_time_get_one_build(
    builder: str, seconds: int, environ: dict[str, str], context: Path
) -> None:

    sleeps = sleeper(context, seconds)
    first = deferred(operator(builder, context))
    service, where = connect(builder, options(builder)), target("page", first.key, options(builder))
    request = BuildRequest(name="page", context=context)
    assert service.start(request, first.key, where, 3600) == first.build
    wait_for(sleeps)
    service.cancel(first.build)
    wait_for(lambda: not sleeps(), seconds=15)


def test_a_service_that_refuses_says_what_to_correct(environ: dict[str, str], context: Path) -> None:
    wrong = {**options("codebuild"), "project": "none"}
    task = operator("codebuild", context)
    task.service = wrong
    with pytest.raises(AirflowFailException, match=r"codebuild: .*none.*; correct the builder's settings"):
        task.execute({})  # type: ignore[arg-type]


def test_several_platforms_need_another_builder(environ: dict[str, str], context: Path) -> None:
    task = operator("cloud_build", context, platforms=("linux/amd64", "linux/arm64"))
    with pytest.raises(AirflowFailException, match=r"one platform at a time.*builder: buildah"):
        task.execute({})  # type: ignore[arg-type]


def test_a_service_that_cannot_be_reached_is_worth_a_retry(
    environ: dict[str, str], context: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triplane.images.triggers.LOST_SECONDS", 0.0)
    task = operator("cloud_build", context)
    trigger = deferred(task)
    with monkeypatch.context() as patched:
        for name in ("HTTPS_PROXY", "https_proxy"):
            patched.setenv(name, "http://127.0.0.1:9")
        lost = event(trigger)
    with pytest.raises(AirflowException, match=f"a retry goes on waiting for build {trigger.build}"):
        task.finish({}, lost)  # type: ignore[arg-type]
    again = deferred(task)
    assert again.build == trigger.build
    assert task.finish({}, event(again))["digest"].startswith("sha256:")  # type: ignore[arg-type]


def test_the_services_refuse_what_the_real_ones_refuse(environ: dict[str, str]) -> None:
    tasks = azure.client(ContainerRegistryTasksMgmtClient, "azure_default").registries
    platform = {"os": "Linux"}
    for wrong, said in (
        ({"type": "DockerBuildRequest", "platform": platform}, "dockerFilePath"),
        (
            {"type": "DockerBuildRequest", "dockerFilePath": "D", "platform": platform, "image": "x"},
            "'image'",
        ),
        ({"type": "EncodedTaskRunRequest", "dockerFilePath": "D", "platform": platform}, "does not run"),
    ):
        with pytest.raises(HttpResponseError, match=said):
            tasks.schedule_run("streaming", "streaming", wrong)
    builds = "https://cloudbuild.googleapis.com/v1/projects/triplane-sandbox/locations/europe-west1/builds"
    session = AuthorizedSession(gcp.credentials("google_cloud_default"))
    answer = session.post(builds, json={"stepps": []})
    assert (answer.status_code, "stepps" in answer.text) == (400, True)
    assert (
        session.post(builds, json={"source": {"storageSource": {}}, "steps": [{"name": "bash"}]}).status_code
        == 400
    )
    codebuild = aws.client("codebuild", "aws_default", "eu-west-1")
    with pytest.raises(codebuild.exceptions.ResourceNotFoundException):
        codebuild.start_build(projectName="none")
    with pytest.raises(codebuild.exceptions.ClientError, match="not one of"):
        codebuild.start_build(projectName="streaming-images", sourceTypeOverride="TAPE")


def test_codebuild_has_no_docker_without_privileged_mode(environ: dict[str, str], context: Path) -> None:
    options_ = options("codebuild")
    service = connect("codebuild", options_)
    assert isinstance(service, CodeBuild)
    start = service._builds.start_build

    def unprivileged(**asked: Any) -> Any:
        return start(**{**asked, "privilegedModeOverride": False})

    service._builds.start_build = unprivileged
    key = f"sha256:{uuid.uuid4().hex * 2}"
    build = service.start(BuildRequest(name="page", context=context), key, target("page", key, options_), 300)
    wait_for(lambda: service.status(build).state != "running")
    assert service.status(build).state == "failed"
    assert "Cannot connect to the Docker daemon" in "".join(service.log(build, "")[0])
