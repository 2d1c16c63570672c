"""Tools that outlive their task: found again while they run, and after they have ended."""

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

from triplane.core import jobs
from triplane.core.errors import OutputTooLarge, ToolError, ToolLost, TransientError
from triplane.core.jobs import Job
from triplane.core.process import Command, attach, run, tool_env

COUNT = """
import signal, sys, time
stop = False
def tidy(*_):
    global stop
    stop = True
signal.signal(signal.SIGINT, tidy)
for number in range(100):
    print(number, flush=True)
    time.sleep(0.05)
    if stop:
        time.sleep(1)
        print("tidied", flush=True)
        sys.exit(3)
"""

TASK = """
import signal, sys
from triplane.core.jobs import Job
from triplane.core.process import Command, run, tool_env
from pathlib import Path
job = Job(Path(sys.argv[1]))
argv = (sys.executable, "-c", sys.argv[2])
run(Command(argv=argv, env=tool_env(), stop_signal=signal.SIGINT, grace=10), job=job)
"""


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def command(code: str, **options: object) -> Command:
    argv = (sys.executable, "-c", textwrap.dedent(code))
    return Command(argv=argv, env=tool_env(), stop_signal=signal.SIGINT, **options)  # type: ignore[arg-type]


def wait_for(condition: object, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


def task(job: Job) -> subprocess.Popen[bytes]:
    started = subprocess.Popen([sys.executable, "-c", TASK, str(job.directory), COUNT])
    wait_for(lambda: job.stdout.exists() and b"3\n" in job.stdout.read_bytes())
    return started


def guardian_of(job: Job) -> int:
    stat = Path(f"/proc/{job.pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


def test_nothing_to_attach_to(job: Job) -> None:
    assert attach(job) is None
    assert not job.running


def test_a_killed_tasks_tool_is_found_while_it_saves_its_work(job: Job) -> None:
    started = task(job)
    started.kill()
    started.wait()
    assert job.running
    lines: list[str] = []
    with pytest.raises(ToolError) as error:
        attach(job, on_line=lines.append)
    assert error.value.returncode == 3
    assert lines[0] == "0"
    assert lines[-1] == "tidied"


def test_a_killed_tasks_tool_is_found_after_it_has_ended(job: Job) -> None:
    started = task(job)
    started.kill()
    started.wait()
    wait_for(lambda: not job.running)
    with pytest.raises(ToolError, match="tidied"):
        attach(job)
    job.forget()
    assert attach(job) is None


def test_a_result_is_kept_until_it_is_forgotten(job: Job) -> None:
    run(command("print('done')"), job=job)
    for _ in range(2):
        found = attach(job)
        assert found is not None
        assert found.stdout == "done\n"


def test_a_running_tool_is_not_started_twice(job: Job, tmp_path: Path) -> None:
    code = (
        f"import pathlib, time\nwhile not pathlib.Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.05)"
    )
    thread = threading.Thread(target=lambda: run(command(code), job=job))
    thread.start()
    wait_for(lambda: job.pid)
    with pytest.raises(TransientError, match="still runs"):
        run(command("print(1)"), job=job)
    (tmp_path / "go").touch()
    thread.join()


def test_a_killed_guardian_lets_the_tool_save_its_work(job: Job) -> None:
    started = task(job)
    os.kill(guardian_of(job), signal.SIGKILL)
    assert started.wait() != 0
    assert not job.running
    assert b"tidied" in job.stdout.read_bytes()
    with pytest.raises(ToolLost, match="tidied"):
        attach(job)


def test_a_killed_guardian_and_task_let_the_tool_save_its_work(job: Job) -> None:
    started = task(job)
    guardian = guardian_of(job)
    started.kill()
    os.kill(guardian, signal.SIGKILL)
    started.wait()
    with pytest.raises(ToolLost, match="tidied"):
        attach(job)


def test_all_killed_is_told_from_a_result(job: Job) -> None:
    started = task(job)
    guardian, tool = guardian_of(job), job.pid
    started.kill()
    os.kill(guardian, signal.SIGKILL)
    os.kill(tool or 0, signal.SIGKILL)
    started.wait()
    with pytest.raises(ToolLost):
        attach(job)


def test_a_stubborn_tool_without_guardian_is_killed_after_its_grace() -> None:
    code = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"

    def kill_guardian(pid: int) -> None:
        time.sleep(0.5)
        os.kill(int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGKILL)

    begun = time.monotonic()
    with pytest.raises(ToolLost):
        run(command(code, grace=0.5), on_start=kill_guardian)
    assert time.monotonic() - begun < 20


def test_too_much_output_stops_the_tool() -> None:
    code = "import sys, time\nwhile True: sys.stdout.write('x' * 100000); time.sleep(0.001)"
    with pytest.raises(OutputTooLarge, match="more than 1 MB"):
        run(command(code, max_output=1_000_000, grace=0.5))


def test_jobs_are_found_by_their_key_and_private() -> None:
    one = jobs.job(["a", 1])
    assert one == jobs.job(["a", 1])
    assert one != jobs.job(["a", 2])
    assert one.directory.stat().st_mode & 0o077 == 0
    one.directory.joinpath("lock").unlink(missing_ok=True)
    one.directory.rmdir()
    jobs.job(["a", 2]).directory.rmdir()


def test_a_tool_whose_task_is_alive_is_left_to_it(job: Job) -> None:
    with subprocess.Popen([sys.executable, "-c", TASK, str(job.directory), COUNT]) as task:
        try:
            wait_for(lambda: job.known and job.pid)
            with pytest.raises(TransientError, match="still runs, and its task is alive; try again"):
                attach(job)
            assert job.running
        finally:
            task.kill()
    with pytest.raises(ToolError):
        attach(job)
