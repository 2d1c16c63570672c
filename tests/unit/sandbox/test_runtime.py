"""Up, down and everything between, with small services of the test's own."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from triplane.sandbox import parts, processes, runtime
from triplane.sandbox.runtime import Sandbox, SandboxError, listens
from triplane.sandbox.service import Context, Route, Service

SERVER = "import http.server,sys; http.server.HTTPServer(('127.0.0.1',int(sys.argv[1])),None).serve_forever()"
STUBBORN = (
    "import signal,subprocess,sys,time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "subprocess.Popen([sys.executable,'-c','import time; time.sleep(300)'], start_new_session=True)\n"
    "time.sleep(300)\n"
)


class ExamplePart:
    name = "example"

    def __init__(self, make: Callable[[Context], list[Service]]) -> None:
        self.make = make
        self.seeded = False

    def prepare(self, ctx: Context) -> None:
        (ctx.home / "prepared").touch()

    def services(self, ctx: Context) -> list[Service]:
        return self.make(ctx)

    def routes(self, ctx: Context) -> list[Route]:
        return [Route(host="api.example.com", port=ctx.port("example"))]

    def environ(self, ctx: Context) -> dict[str, str]:
        return {"EXAMPLE": ctx.secret("example")}

    def seed(self, ctx: Context) -> None:
        self.seeded = listens(ctx.port("example"))


def server(ctx: Context) -> list[Service]:
    port = ctx.port("example")
    argv = (sys.executable, "-c", SERVER, str(port))
    return [Service(name="example", argv=argv, ready=lambda: listens(port))]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Context], list[Service]]], ExamplePart]:
    def put(make: Callable[[Context], list[Service]]) -> ExamplePart:
        part = ExamplePart(make)
        monkeypatch.setattr(parts, "load", lambda names=None: [part])
        return part

    return put


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "sandbox"


def marked(home: Path) -> list[int]:
    sandbox_id = json.loads((home / "sandbox.json").read_text())["id"]
    return [process.pid for process in processes.marked(sandbox_id)]


def test_up_and_down(use: Callable[..., ExamplePart], home: Path, tmp_path: Path) -> None:
    part = use(server)
    lines: list[str] = []
    sandbox = Sandbox.up(home, on_progress=lines.append)
    try:
        assert part.seeded
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        assert stat.S_IMODE((home / "sandbox.json").stat().st_mode) == 0o600
        assert [each.name for each in sandbox.status()] == ["example", "gateway"]
        assert any(line.startswith("example: ready after") for line in lines)
        again = Sandbox.load(home)
        assert again.environ() == sandbox.environ()
        assert again.environ()["EXAMPLE"] == sandbox.secret("example")
        assert again.port("example") == sandbox.port("example")
        assert Sandbox.up(home).status() == sandbox.status()
        pids = [each.pid for each in sandbox.status()]
    finally:
        sandbox.down()
    assert not home.exists()
    assert not any(processes.start_time(pid) for pid in pids)
    sandbox.down()


def test_environment_leads_into_the_sandbox(use: Callable[..., ExamplePart], home: Path) -> None:
    use(server)
    sandbox = Sandbox.up(home)
    try:
        environ = sandbox.environ()
    finally:
        sandbox.down()
    assert (
        environ["HTTPS_PROXY"] == environ["https_proxy"] == f"http://127.0.0.1:{environ['HTTPS_PROXY'][-5:]}"
    )
    assert environ["NO_PROXY"] == "127.0.0.1,localhost"
    assert {environ[name] for name in runtime.CA_VARIABLES} == {str(home / "ca" / "ca.pem")}
    assert environ["PATH"].endswith(os.environ["PATH"])


def test_service_that_dies_is_named_with_the_end_of_its_log(
    use: Callable[..., ExamplePart], home: Path
) -> None:
    code = "import sys; print('no such table'); sys.exit(3)"
    use(lambda ctx: [Service(name="broken", argv=(sys.executable, "-c", code), ready=lambda: False)])
    with pytest.raises(SandboxError, match=r"(?s)broken ended.*no such table"):
        Sandbox.up(home)
    assert marked(home) == []


def test_service_that_is_late(use: Callable[..., ExamplePart], home: Path) -> None:
    argv = (sys.executable, "-c", "import time; time.sleep(60)")
    use(lambda ctx: [Service(name="late", argv=argv, ready=lambda: False, ready_timeout=0.3)])
    with pytest.raises(SandboxError, match=r"late was not ready after 0.3 s"):
        Sandbox.up(home)
    assert marked(home) == []


def test_down_after_a_crash_of_up(use: Callable[..., ExamplePart], home: Path) -> None:
    """Whoever started it was killed, and had not yet written down what it started."""
    use(server)
    sandbox = Sandbox.up(home)
    state = json.loads((home / "sandbox.json").read_text())
    (home / "sandbox.json").write_text(json.dumps({**state, "ready": False, "processes": {}}))
    with pytest.raises(SandboxError, match="not running"):
        Sandbox.load(home)
    port = sandbox.port("example")
    Sandbox(home).down()
    assert not home.exists()
    assert not listens(port)


def test_up_replaces_a_sandbox_that_lost_a_service(use: Callable[..., ExamplePart], home: Path) -> None:
    use(server)
    first = Sandbox.up(home)
    os.kill(first.status()[0].pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while first.running and time.monotonic() < deadline:
        time.sleep(0.02)
    with pytest.raises(SandboxError, match="ended: example"):
        Sandbox.load(home)
    second = Sandbox.up(home)
    try:
        assert second.running
    finally:
        second.down()


def test_stubborn_services_and_their_children_are_killed(
    use: Callable[..., ExamplePart], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.5)
    use(
        lambda ctx: [
            *server(ctx),
            Service(name="mule", argv=(sys.executable, "-c", STUBBORN), ready=lambda: True),
        ]
    )
    sandbox = Sandbox.up(home)
    deadline = time.monotonic() + 10
    while len(marked(home)) < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    pids = marked(home)
    assert len(pids) == 4
    sandbox.down()
    assert not any(processes.start_time(pid) for pid in pids)


def test_down_leaves_a_stranger_with_a_recycled_pid_alone(
    use: Callable[..., ExamplePart], home: Path
) -> None:
    use(server)
    sandbox = Sandbox.up(home)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as stranger:
        state = json.loads((home / "sandbox.json").read_text())
        state["processes"]["example"] = {"pid": stranger.pid, "started": 1}
        (home / "sandbox.json").write_text(json.dumps(state))
        sandbox.down()
        assert stranger.poll() is None
        stranger.kill()


def test_up_does_not_touch_a_directory_with_other_things(home: Path) -> None:
    home.mkdir()
    (home / "thesis.tex").touch()
    with pytest.raises(SandboxError, match="not empty"):
        Sandbox.up(home)
    Sandbox(home).down()
    assert (home / "thesis.tex").exists()


def test_load_without_a_sandbox(home: Path) -> None:
    with pytest.raises(SandboxError, match="triplane sandbox up"):
        Sandbox.load(home)


def test_unknown_part(home: Path) -> None:
    with pytest.raises(KeyError, match="no sandbox part oracle"):
        parts.load(["oracle"])


def test_context_of_parts_is_the_sandbox(home: Path) -> None:
    context: Context = Sandbox(home)
    assert context.home == home


def test_up_does_not_disturb_another_that_is_starting(use: Callable[..., ExamplePart], home: Path) -> None:
    use(server)
    sandbox = Sandbox.up(home)
    state = json.loads((home / "sandbox.json").read_text())
    parent = processes.Process(os.getppid(), processes.start_time(os.getppid()) or 0)
    starter = {"pid": parent.pid, "started": parent.started}
    (home / "sandbox.json").write_text(json.dumps({**state, "ready": False, "starter": starter}))
    with pytest.raises(SandboxError, match=f"being started by process {os.getppid()}"):
        Sandbox.up(home)
    assert all(each.alive for each in sandbox.status())
    sandbox.down()
