"""The scripts of the image."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

DOCKER = Path(__file__).parents[2] / "docker"
ARCH = subprocess.run(
    ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
).stdout.strip()

CONTAINER = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount", "--mount-proc")
"""Sees no processes but its own, as in a container."""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def releases(tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """A server of releases that are laid out as the projects' own, and the environment that leads there."""
    folder = tmp_path / "releases"
    add(
        folder,
        f"terraform/1.2.3/terraform_1.2.3_linux_{ARCH}.zip",
        zipped("terraform"),
        "terraform_1.2.3_SHA256SUMS",
    )
    add(folder, f"tofu/v1.2.4/tofu_1.2.4_linux_{ARCH}.zip", zipped("tofu"), "tofu_1.2.4_SHA256SUMS")
    archive = f"helm-v4.0.0-linux-{ARCH}.tar.gz"
    add(folder, f"helm/{archive}", tarred(f"linux-{ARCH}/helm"), f"{archive}.sha256sum")
    add(folder, f"kubectl/v1.30.0/bin/linux/{ARCH}/kubectl", b"kubectl", "kubectl.sha256", bare=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    urls = {f"{name.upper()}_URL": f"{base}/{name}" for name in ("terraform", "tofu", "helm", "kubectl")}
    versions = {
        "TERRAFORM_VERSION": "1.2.3",
        "TOFU_VERSION": "1.2.4",
        "HELM_VERSION": "4.0.0",
        "KUBECTL_VERSION": "1.30.0",
    }
    yield folder, urls | versions
    server.shutdown()
    server.server_close()


def tools(target: Path, source: str, **environ: str) -> subprocess.CompletedProcess[str]:
    quiet = {"PATH": os.environ["PATH"], "NO_PROXY": "*", "IAC": "terraform", **environ}
    return subprocess.run(
        [DOCKER / "tools.sh", source, target], env=quiet, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("iac", ["terraform", "tofu"])
def test_tools_from_their_projects(releases: tuple[Path, dict[str, str]], tmp_path: Path, iac: str) -> None:
    done = tools(tmp_path / "bin", "upstream", **releases[1], IAC=iac)
    assert done.returncode == 0, done.stderr
    found = {path.name: path.read_text() for path in (tmp_path / "bin").iterdir()}
    assert found == {iac: iac, "helm": f"linux-{ARCH}/helm", "kubectl": "kubectl"}
    assert all(os.access(path, os.X_OK) for path in (tmp_path / "bin").iterdir())


@pytest.mark.parametrize(
    "file", [f"terraform/1.2.3/terraform_1.2.3_linux_{ARCH}.zip", f"kubectl/v1.30.0/bin/linux/{ARCH}/kubectl"]
)
def test_a_tool_that_is_not_what_its_checksum_says(
    releases: tuple[Path, dict[str, str]], tmp_path: Path, file: str
) -> None:
    (releases[0] / file).write_bytes(zipped("terraform") + b"more")
    done = tools(tmp_path / "bin", "upstream", **releases[1])
    assert done.returncode == 1
    assert f"/{file} is not what its checksum says" in done.stderr


def test_a_release_without_checksum(releases: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    (releases[0] / "terraform/1.2.3/terraform_1.2.3_SHA256SUMS").write_text("0" * 64 + "  another.zip\n")
    assert tools(tmp_path / "bin", "upstream", **releases[1]).returncode == 1


@pytest.mark.parametrize(
    ("source", "iac", "said"),
    [
        ("hub", "terraform", "packages or upstream, not hub"),
        ("upstream", "pulumi", "terraform or tofu, not pulumi"),
    ],
)
def test_bad_arguments(
    releases: tuple[Path, dict[str, str]], tmp_path: Path, source: str, iac: str, said: str
) -> None:
    done = tools(tmp_path, source, **releases[1], IAC=iac)
    assert done.returncode == 1
    assert said in done.stderr


def test_secrets_are_made_once_for_their_readers_alone(tmp_path: Path) -> None:
    folders = ("airflow", "shared", "artifacts", "worker", "users", "postgres", "redis")
    for name in folders:
        (tmp_path / name).mkdir()

    def make(users: str) -> dict[str, str]:
        subprocess.run([sys.executable, DOCKER / "make_secrets.py", tmp_path, users], check=True)
        return {f"{path.parent.name}/{path.name}": path.read_text() for path in tmp_path.glob("*/*")}

    first = make("admin:admin,bob:op")
    again = make("admin:admin,bob:op,carol:viewer")
    passwords = "users/passwords.json"
    assert {name: value for name, value in again.items() if name != passwords} == {
        name: value for name, value in first.items() if name != passwords
    }
    before, after = json.loads(first[passwords]), json.loads(again[passwords])
    assert set(after) == {"admin", "bob", "carol"}
    assert before == {name: after[name] for name in ("admin", "bob")}
    assert first["postgres/password"] in first["airflow/database_url"]
    for path in tmp_path.glob("*/*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o444 if path.parent.name in ("postgres", "redis") else mode & 0o600), path


def test_a_container_outlives_its_command_as_long_as_a_tool_saves_its_state(tmp_path: Path) -> None:
    guardian = tmp_path / "triplane" / "core" / "guardian.py"
    guardian.parent.mkdir(parents=True)
    guardian.write_text(
        f"import pathlib, time\ntime.sleep(1)\npathlib.Path({str(tmp_path / 'saved')!r}).touch()\n"
    )
    command = tmp_path / "command"
    command.write_text(f"setsid {sys.executable} {guardian} & sleep 0.5; kill -KILL $$")
    done = subprocess.run([*CONTAINER, DOCKER / "entrypoint.sh", "sh", command], check=False, timeout=60)
    assert done.returncode == 128 + 9
    assert (tmp_path / "saved").exists()


TASKS = """
sh -c 'trap "touch {0}/told; exit" TERM; touch {0}/begun; while :; do sleep 0.1; done' &
trap 'sleep 1; test -e {0}/told || touch {0}/alone; wait; exit 3' TERM
while :; do sleep 0.1; done
"""
"""A command that, told to stop, waits for what it has started."""


def test_a_container_that_is_told_to_stop_waits_for_its_command_and_tells_its_tasks_later(
    tmp_path: Path,
) -> None:
    process = subprocess.Popen(
        [*CONTAINER, DOCKER / "entrypoint.sh", "sh", "-c", TASKS.format(tmp_path)],
        process_group=0,
        env={**os.environ, "TRIPLANE_STOP_TASKS_AFTER": "3"},
    )
    while not (tmp_path / "begun").exists():
        time.sleep(0.05)
    inside = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    os.kill(int(inside), signal.SIGTERM)
    assert process.wait(60) == 3
    assert (tmp_path / "alone").exists()
    assert (tmp_path / "told").exists()


def test_a_command_in_a_container_reads_what_it_is_given() -> None:
    done = subprocess.run(
        [DOCKER / "entrypoint.sh", "cat"], input=b"given", stdout=subprocess.PIPE, check=True
    )
    assert done.stdout == b"given"


def add(folder: Path, name: str, data: bytes, sums: str, bare: bool = False) -> None:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    found = hashlib.sha256(data).hexdigest()
    (file.parent / sums).write_text(found if bare else f"{found}  {file.name}\n")


def zipped(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("LICENSE.txt", "terms")
        archive.writestr(name, name)
    return buffer.getvalue()


def tarred(name: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(name)
        archive.addfile(info, io.BytesIO(name.encode()))
    return buffer.getvalue()
