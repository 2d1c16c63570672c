"""The guardian and what a killed or cancelled task leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from triplane.core import process
from triplane.core.errors import InputError, ToolError, ToolTimeout
from triplane.core.process import Command, run, tool_env
from triplane.core.redact import Redactor
from triplane.sandbox.processes import start_time

TIDY = """
import signal, sys, time, pathlib
def tidy(*_):
    pathlib.Path(sys.argv[1]).write_text("tidied")
    sys.exit(3)
signal.signal(signal.SIGINT, tidy)
print("ready", flush=True)
time.sleep(60)
"""


def python(code: str, *args: str, **options: object) -> Command:
    return Command(argv=(sys.executable, "-c", code, *args), env=tool_env(), **options)  # type: ignore[arg-type]


def wait_for(condition: object, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


def test_output_is_streamed_redacted_and_returned() -> None:
    lines: list[str] = []
    code = "import sys; print('key hunter22'); print('é' * 2); sys.stderr.write('warned hunter22')"
    done = run(python(code), on_line=lines.append, redact=Redactor(["hunter22"]))
    assert done.returncode == 0
    assert done.stdout == "key hunter22\néé\n"
    assert done.stderr == "warned ***"
    assert sorted(lines) == sorted(["key ***", "éé", "warned ***"])


def test_environment_is_only_what_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOT_FOR_TOOLS", "x")
    monkeypatch.setenv("FOR_TOOLS", "y")
    env = tool_env("FOR_TOOLS", EXTRA="z")
    done = run(Command(argv=("env",), env=env))
    names = {line.partition("=")[0] for line in done.stdout.splitlines()}
    assert {"FOR_TOOLS", "EXTRA", "PATH"} <= names
    assert "NOT_FOR_TOOLS" not in names


def test_stdin_reaches_the_tool() -> None:
    command = Command(argv=("cat",), env=tool_env(), stdin=b"quiet")
    assert run(command).stdout == "quiet"


def test_unexpected_return_code_is_an_error_with_what_the_tool_said() -> None:
    with pytest.raises(ToolError, match="no such thing") as caught:
        run(python("import sys; sys.stderr.write('no such thing'); sys.exit(4)"))
    assert caught.value.returncode == 4
    assert run(python("raise SystemExit(2)", ok=frozenset({0, 2}))).returncode == 2


def test_missing_tool_says_so() -> None:
    with pytest.raises(InputError, match="no-such-tool is not installed"):
        run(Command(argv=("no-such-tool",), env=tool_env()))


def test_timeout_stops_the_tool_in_its_own_way(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with pytest.raises(ToolTimeout, match="limit of 1 s"):
        run(python(TIDY, str(mark), stop_signal=signal.SIGINT), timeout=1)
    assert mark.read_text() == "tidied"


def test_a_tool_that_ignores_its_signal_is_killed_after_its_grace() -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    start = time.monotonic()
    with pytest.raises(ToolTimeout):
        run(python(stubborn, grace=0.5), timeout=0.5)
    assert time.monotonic() - start < 15


def test_cancel_stops_what_runs(tmp_path: Path) -> None:
    mark, ready = tmp_path / "mark", tmp_path / "ready"
    code = TIDY.replace("time.sleep(60)", f"pathlib.Path({str(ready)!r}).touch(); time.sleep(60)")

    def cancel() -> None:
        wait_for(ready.exists)
        process.stop_all()

    threading.Thread(target=cancel).start()
    with pytest.raises(ToolError) as caught:
        run(python(code, str(mark), stop_signal=signal.SIGINT))
    assert caught.value.returncode == 3
    assert mark.read_text() == "tidied"


def test_killed_task_leaves_no_tool_behind_and_lets_it_tidy_up(tmp_path: Path) -> None:
    mark, pid_file = tmp_path / "mark", tmp_path / "pid"
    code = TIDY.replace(
        "time.sleep(60)",
        f"pathlib.Path({str(pid_file)!r}).write_text(str(__import__('os').getpid())); time.sleep(60)",
    )
    task = textwrap.dedent(
        f"""
        import signal, sys
        from triplane.core.process import Command, run, tool_env
        run(Command(argv=(sys.executable, "-c", {code!r}, {str(mark)!r}), env=tool_env(), stop_signal=signal.SIGINT))
        """
    )
    worker = subprocess.Popen([sys.executable, "-c", task])
    wait_for(lambda: pid_file.exists() and pid_file.read_text())
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    wait_for(mark.exists)
    tool = int(pid_file.read_text())
    wait_for(lambda: start_time(tool) is None)


def test_secret_files_are_private(tmp_path: Path) -> None:
    path = process.write_private(tmp_path / "values", "secret")
    assert path.stat().st_mode & 0o777 == 0o600
    with process.private_dir() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()
    assert os.path.exists(path)


def test_a_killed_tasks_private_files_are_removed_once_its_tool_has_ended(tmp_path: Path) -> None:
    mark, place = tmp_path / "mark", tmp_path / "place"
    code = f"""
        import pathlib, sys
        from triplane.core.process import Command, private_dir, run, tool_env
        with private_dir() as folder:
            (folder / "plan").write_text("secret")
            pathlib.Path({str(place)!r}).write_text(str(folder))
            slow = "trap 'sleep 2; echo > {mark}; exit' TERM; while :; do sleep 0.1; done"
            run(Command(argv=("sh", "-c", slow), env=tool_env()))
    """
    worker = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    wait_for(lambda: place.exists() and place.read_text())
    folder = Path(place.read_text())
    time.sleep(0.5)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    os.utime(folder, (0, 0))
    with process.private_dir():
        assert folder.exists(), "its tool still works in it"
    wait_for(mark.exists)

    def gone() -> bool:
        with process.private_dir():
            return not folder.exists()

    wait_for(gone)
