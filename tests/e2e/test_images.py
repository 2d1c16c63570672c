"""Real builds with buildah, pushed with real logins to the sandbox's registries."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from cryptography.fernet import Fernet

from tests.few import few
from triplane.core.digest import digest
from triplane.images.operators import ImageBuildOperator, ImagePushOperator
from triplane.sandbox.runtime import Sandbox

EXAMPLE = Path(__file__).parents[2] / "examples/streaming-platform"
DOCKERFILE = "FROM docker.io/library/busybox:1.36\nCOPY page /page\nRUN cat /page > /copy\n"
SLEEPER = "FROM docker.io/library/busybox:1.36\nRUN echo started; sleep 27; echo never\n"
REGISTRIES = {
    "aws": ("000000000000.dkr.ecr.eu-west-1.amazonaws.com", "aws_default"),
    "gcp": ("europe-west1-docker.pkg.dev/triplane-sandbox/streaming", "google_cloud_default"),
    "azure": ("streaming.azurecr.io", "azure_default"),
}

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not (shutil.which("buildah") and shutil.which("skopeo")), reason="needs buildah and skopeo"
    ),
]


@pytest.fixture
def environ(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    added = {
        **sandbox.environ(),
        "AIRFLOW__TRIPLANE__ARTIFACT_STORE": f"file://{tmp_path}/store",
        "AIRFLOW__TRIPLANE__ARTIFACT_KEY": Fernet.generate_key().decode(),
    }
    for name, value in added.items():
        monkeypatch.setenv(name, value)
    return added


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("containers")
    yield path
    for mount in sorted(path.glob("**/root/overlay/*/merged"), reverse=True):
        subprocess.run(["umount", mount], check=False, capture_output=True)
    for root in ("root", "platforms/root"):
        subprocess.run(["umount", path / root / "overlay"], check=False, capture_output=True)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    path = tmp_path / "context"
    path.mkdir()
    (path / "Dockerfile").write_text(DOCKERFILE)
    (path / "page").write_text(tmp_path.name)
    return path


def build(path: Path, storage: Path, **kwargs: Any) -> dict[str, str]:
    arguments = {"task_id": "build", "image": "page", "path": str(path), **kwargs}
    operator = ImageBuildOperator(storage=str(storage), **arguments)
    return operator.execute({})  # type: ignore[arg-type]


def push(to: str, digest: str, **kwargs: Any) -> str:
    registry, conn_id = REGISTRIES[to]
    arguments = {
        "task_id": "push",
        "image": "page",
        "registry": registry,
        "conn_id": conn_id,
        "cloud": to,
        "create": {},
        **kwargs,
    }
    return ImagePushOperator(digest=digest, **arguments).execute({})  # type: ignore[arg-type]


def served(sandbox: Sandbox, cloud: str, repository: str, reference: str) -> str | None:
    """The digest of the manifest that the registry itself serves, past its login."""
    url = f"http://127.0.0.1:{sandbox.port(f'registry-{cloud}')}/v2/{repository}/manifests/{reference}"
    accept = "application/vnd.oci.image.manifest.v1+json"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": accept})) as answer:
            return digest(answer.read())
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return None


def test_a_context_is_built_once(
    environ: dict[str, str], context: Path, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = build(context, storage)
    assert "COMMIT" in capsys.readouterr().out
    os.utime(context / "page", (1, 1))
    assert build(context, storage) == first
    output = capsys.readouterr().out
    assert "was built before" in output
    assert "COMMIT" not in output


def test_the_same_context_gives_the_same_digest_anywhere(
    environ: dict[str, str], context: Path, storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(context, storage)
    other = shutil.copytree(context, tmp_path / "elsewhere")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/other-store")
    time.sleep(1.1)
    assert build(other, storage) == first
    (other / "page").write_text("changed")
    changed = build(other, storage)
    assert changed["key"] != first["key"]
    assert changed["digest"] != first["digest"]


def test_a_build_argument_is_in_the_image(environ: dict[str, str], context: Path, storage: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nARG V\nLABEL v=$V\nCOPY page /\n")
    one, two = (build(context, storage, build_args={"V": v}) for v in ("1", "2"))
    assert one["digest"] != two["digest"]


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure"])
def test_every_registry_serves_the_same_digest(
    cloud: str,
    sandbox: Sandbox,
    environ: dict[str, str],
    context: Path,
    storage: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    image = build(context, storage)["digest"]
    host, _, path = REGISTRIES[cloud][0].partition("/")
    repository = "/".join(part for part in (path, "page") if part)
    reference = push(cloud, image)
    assert reference == f"{host}/{repository}@{image}"
    assert served(sandbox, cloud, repository, image) == image
    assert served(sandbox, cloud, repository, f"sha256-{image[7:23]}") == image
    capsys.readouterr()
    assert push(cloud, image) == reference
    assert "is there already" in capsys.readouterr().out


def test_the_example_images_build(environ: dict[str, str], storage: Path) -> None:
    for path in ("services/ingest", "services/query", "functions/webhook-container"):
        assert build(EXAMPLE / path, storage)["digest"].startswith("sha256:")


def test_a_wrong_login_is_final(
    environ: dict[str, str], context: Path, storage: Path, monkeypatch: Any
) -> None:
    image = build(context, storage)["digest"]
    monkeypatch.setenv(
        "AIRFLOW_CONN_WRONG", json.dumps({"conn_type": "http", "login": "x", "password": "wrong-pw"})
    )
    with pytest.raises(AirflowFailException, match="skopeo inspect ended with"):
        push("azure", image, cloud=None, conn_id="wrong")


def test_a_registry_that_is_down_is_worth_a_retry(
    environ: dict[str, str], context: Path, storage: Path
) -> None:
    image = build(context, storage)["digest"]
    with pytest.raises(AirflowException) as error:
        push("aws", image, cloud=None, conn_id=None, registry="127.0.0.1:9")
    assert not isinstance(error.value, AirflowFailException)


def test_a_blob_changed_in_the_store_is_not_pushed(
    sandbox: Sandbox, environ: dict[str, str], context: Path, storage: Path, tmp_path: Path
) -> None:
    image = build(context, storage)["digest"]
    blobs = sorted((tmp_path / "store/blobs").iterdir(), key=lambda path: path.stat().st_size)
    assert len(blobs) >= 4
    blobs[-1].write_bytes(blobs[0].read_bytes())
    with pytest.raises(AirflowFailException, match="was changed after it was stored"):
        push("aws", image, image="tampered")
    assert served(sandbox, "aws", "tampered", image) is None


def test_a_failing_step_says_which(environ: dict[str, str], context: Path, storage: Path) -> None:
    (context / "Dockerfile").write_text("FROM docker.io/library/busybox:1.36\nRUN echo why >&2; exit 3\n")
    with pytest.raises(AirflowFailException, match="exit 3"):
        build(context, storage)


def test_a_base_image_that_does_not_exist_is_final(
    environ: dict[str, str], context: Path, storage: Path
) -> None:
    (context / "Dockerfile").write_text("FROM docker.io/library/none:1\n")
    with pytest.raises(AirflowFailException, match="none:1"):
        build(context, storage)


def test_a_timeout_stops_the_build(environ: dict[str, str], context: Path, storage: Path) -> None:
    (context / "Dockerfile").write_text(SLEEPER)
    with pytest.raises(AirflowException, match="was stopped after its limit of 3 s"):
        build(context, storage, timeout=3)


def test_on_kill_stops_the_build(environ: dict[str, str], context: Path, storage: Path) -> None:
    (context / "Dockerfile").write_text(SLEEPER.replace("27", "26"))
    operator = ImageBuildOperator(task_id="build", image="page", path=str(context), storage=str(storage))

    def kill() -> None:
        wait_for(lambda: running("sleep 26"))
        operator.on_kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(AirflowException, match="stopped from outside"):
        operator.execute({})  # type: ignore[arg-type]
    killer.join()


def test_a_stopped_build_leaves_no_step_running(
    environ: dict[str, str], context: Path, storage: Path
) -> None:
    (context / "Dockerfile").write_text(SLEEPER.replace("27", "25"))
    with pytest.raises(AirflowException, match="was stopped"):
        build(context, storage, timeout=3)
    wait_for(lambda: not running("sleep 25"), seconds=5)


def test_a_killed_task_leaves_no_build_behind(environ: dict[str, str], context: Path, storage: Path) -> None:
    (context / "Dockerfile").write_text(SLEEPER.replace("27", "28"))
    code = (
        "from triplane.images.operators import ImageBuildOperator as B\n"
        f"B(task_id='b', image='page', path={str(context)!r}, storage={str(storage)!r}).execute({{}})"
    )
    task = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: running("sleep 28"))
    finally:
        task.send_signal(signal.SIGKILL)
        task.wait()
    wait_for(lambda: not running("sleep 28"))
    (context / "Dockerfile").write_text(DOCKERFILE)
    build(context, storage)
    command = ["buildah", "--root", storage / "root", "--runroot", storage / "run", "containers", "--quiet"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""


@pytest.mark.parametrize("seconds", few(["8", "9"], ["8"]))
def test_a_killed_build_is_built_by_its_retry(
    seconds: str, environ: dict[str, str], context: Path, storage: Path
) -> None:
    (context / "Dockerfile").write_text(SLEEPER.replace("27", seconds))
    code = (
        "from triplane.images.operators import ImageBuildOperator as B\n"
        f"B(task_id='b', image='page', path={str(context)!r}, storage={str(storage)!r}).execute({{}})"
    )
    task = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: running(f"sleep {seconds}"))
    finally:
        task.send_signal(signal.SIGKILL)
        if seconds == "8":  # and with it its guardian
            os.kill(guardian_of(storage), signal.SIGKILL)
        task.wait()
    built = build(context, storage)
    assert build(context, storage) == built
    assert not running(f"sleep {seconds}")
    command = ["buildah", "--root", storage / "root", "--runroot", storage / "run", "containers", "--quiet"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""


def guardian_of(storage: Path) -> int:
    """The process that watches the build in ``storage``."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if any(word.endswith("guardian.py") for word in words) and str(storage / "root") in words:
            return int(path.parent.name)
    raise AssertionError("no guardian watches a build")


def running(words: str) -> bool:
    """Whether a process of exactly these words runs."""
    expected = words.replace(" ", "\0").encode() + b"\0"
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes() == expected:
                return True
        except OSError:
            continue
    return False


def wait_for(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
