"""Images for several platforms, built by buildah and pushed as one index."""

from __future__ import annotations

import json
import platform
import shutil
from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowFailException

from tests.e2e.test_images import build, environ, push, served, storage
from triplane.core.digest import digest
from triplane.sandbox.runtime import Sandbox
from triplane.settings import artifact_store

__all__ = ["environ", "storage"]

BOTH = ("linux/amd64", "linux/arm64")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not (shutil.which("buildah") and shutil.which("skopeo")), reason="needs buildah and skopeo"
    ),
]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    path = tmp_path / "context"
    path.mkdir()
    (path / "page").write_text(tmp_path.name)
    (path / "Dockerfile").write_text("FROM scratch\nCOPY page /page\n")
    return path


def test_one_digest_stands_for_all_platforms_in_every_registry(
    sandbox: Sandbox, environ: dict[str, str], context: Path, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = build(context, storage, platforms=BOTH)
    index = json.loads(artifact_store().get(built["digest"]))
    found = {entry["platform"]["architecture"]: entry["digest"] for entry in index["manifests"]}
    assert sorted(found) == ["amd64", "arm64"]
    for cloud, folder in (("aws", ""), ("gcp", "triplane-sandbox/streaming/"), ("azure", "")):
        assert push(cloud, built["digest"]).endswith(built["digest"])
        assert served(sandbox, cloud, f"{folder}page", found["arm64"]) == found["arm64"]
    assert build(context, storage, platforms=reversed(BOTH)) == built
    if platform.machine() == "x86_64":
        assert build(context, storage)["digest"] == found["amd64"]
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{context.parent}/another")
    assert build(context, storage, platforms=BOTH) == built
    assert digest(artifact_store().get(found["amd64"])) == found["amd64"]


def test_a_step_for_a_platform_that_the_worker_cannot_run_is_explained(
    environ: dict[str, str], context: Path, storage: Path
) -> None:
    if any(Path("/proc/sys/fs/binfmt_misc").glob("qemu-aarch64*")):
        pytest.skip("this machine runs arm64 programs")
    machine = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00\x01" + bytes(43)
    (context / "sh").write_bytes(machine)
    (context / "sh").chmod(0o755)
    (context / "Dockerfile").write_text('FROM scratch\nCOPY sh /sh\nRUN ["/sh"]\n')
    with pytest.raises(AirflowFailException, match=r"linux/arm64.*qemu-user-static"):
        build(context, storage, platforms=("linux/arm64",))
