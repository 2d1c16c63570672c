"""``triplane`` as CI and people run it, against a real Airflow and the small platform."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.ci_templates import steps
from tests.e2e.deployment.conftest import Installation
from tests.tcp_proxy import CuttableProxy

pytestmark = pytest.mark.e2e
TRIPLANE = str(Path(sys.executable).with_name("triplane"))
CLOUDS = ("aws", "gcp", "azure")
LIMIT = 400


def environ(
    installation: Installation, environment: str, user: str = "alice", port: int = 0
) -> dict[str, str]:
    """What a shell that uses the command has set."""
    keep = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    return {
        **keep,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "NO_PROXY": "127.0.0.1",
        "TRIPLANE_SERVER": f"http://127.0.0.1:{port or installation.airflow.port}",
        "TRIPLANE_USER": user,
        "TRIPLANE_PASSWORD": installation.airflow.password(user),
        "TRIPLANE_PREFIX": "small_",
        "TRIPLANE_ENVIRONMENT": environment,
    }


def triplane(env: Mapping[str, str], *words: str) -> tuple[int, dict[str, Any], str]:
    """Run it with ``--json``: exit code, document, progress."""
    done = subprocess.run(
        [TRIPLANE, *words, "--json"], env=env, capture_output=True, text=True, timeout=LIMIT, cwd="/"
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


@pytest.mark.campaign
def test_every_command_of_every_ci_template_runs_and_one_commit_is_one_run(
    installation: Installation, tmp_path: Path
) -> None:
    commit = installation.small.commit("What CI deploys")
    found: dict[str, dict[str, str]] = {}
    for number, step in enumerate(steps(commit)):
        folder = tmp_path / str(number)
        folder.mkdir()
        env = {
            **environ(installation, "ci"),
            "TRIPLANE_KEY": "nightly" if step.command == "drift" else "",
            "RUNNER_TEMP": str(folder),
            "GITHUB_OUTPUT": str(folder / "output"),
            **step.environ,
        }
        done = subprocess.run(
            ["bash", "-ceu", step.script], env=env, capture_output=True, text=True, timeout=LIMIT, cwd=folder
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, f"{step.system} {step.command}: {said}"
        assert "\x1b" not in said
        match = re.search(r"ci-ci-[\w-]+", said)
        assert match, said
        found.setdefault(step.command, {})[step.system] = match[0]
        if step.system == "github":
            assert f"run-id={match[0]}\noutcome=done\n" in (folder / "output").read_text()
        if step.command == "plan":
            assert "stack/main" in said
            assert "create" in said
    assert {name: len(set(runs.values())) for name, runs in found.items()} == dict.fromkeys(found, 1)
    assert found["deploy"].keys() == {"github", "gitlab", "azure", "aws", "google"}
    assert found["deploy"]["aws"] == f"ci-ci-deploy-{commit[:12]}"
    assert {
        run["dag_run_id"]
        for run in installation.alice.get("/dags/small_deploy/dagRuns", limit=100)["dag_runs"]
    } >= {
        found["deploy"]["aws"],
        found["plan"]["aws"],
    }

    installation.small.add("azure", "more")
    installation.small.take_down("azure")
    later = installation.small.commit("Azure is down")
    env = environ(installation, "ci")
    try:
        code, document, progress = triplane(env, "deploy", "--wait", "--cloud", "azure", "--revision", later)
    finally:
        installation.small.bring_up("azure")
    assert (code, document["outcome"], document["attached"]) == (1, "failed", False), progress
    assert [problem["task"] for problem in document["problems"]][:1] == ["infrastructure.main.apply"]
    assert "azure  infrastructure.main.apply: failed" in progress
    code, document, progress = triplane(env, "deploy", "--wait", "--cloud", "azure", "--revision", later)
    assert (code, document["attached"]) == (1, True)
    assert "--again" in progress


@pytest.mark.campaign
def test_a_terminal_follows_a_run_over_a_lost_connection_until_it_is_approved(
    installation: Installation,
) -> None:
    commit = installation.small.commit("What somebody deploys by hand")
    proxy = CuttableProxy(installation.airflow.port)
    alice, bob = environ(installation, "ci-asked"), environ(installation, "ci-asked", "bob")
    run_id = f"ci-ci-asked-deploy-{commit[:12]}"
    terminal = Terminal(
        {**environ(installation, "ci-asked", port=proxy.port), "TERM": "xterm"},
        "deploy", "--wait", "--revision", commit,
    )  # fmt: skip
    try:
        terminal.expect("waits for approval")
        proxy.cut()
        terminal.expect("no connection to Airflow")
        proxy.mend()
        terminal.expect("the connection is back")

        code, document, _ = triplane(alice, "status", run_id)
        assert (code, document["outcome"], document["state"]) == (3, "waiting", "running")
        digest = document["questions"][0]["digest"]
        assert digest.startswith("sha256:")
        code, document, _ = triplane(alice, "approve", run_id, "--digest", digest, "--reason", "mine")
        assert (code, document["outcome"]) == (2, "usage")
        code, document, _ = triplane(bob, "approve", run_id, "--digest", "sha256:0", "--reason", "blind")
        assert (code, document["outcome"]) == (2, "usage")
        code, document, _ = triplane(bob, "approve", run_id, "--yes", "--reason", "no", "--hold", "moon")
        assert code == 2
        words = ("approve", run_id, "--digest", digest, "--reason", "as planned", "--hold", "azure")
        code, document, shown = triplane(bob, *words)
        assert (code, document.get("digests")) == (0, [digest]), shown
        assert "terraform_data.main" in shown
        assert terminal.wait() == 0, terminal.text
    finally:
        terminal.close()
        proxy.cut()
    assert "\x1b[J" in terminal.text
    assert re.search(r"infrastructure +\S*✓", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.text))

    code, document, _ = triplane(alice, "status", run_id)
    rows = {(row["cloud"], row["state"]) for row in document["rows"]}
    assert (code, rows) == (0, {("aws", "deployed"), ("gcp", "deployed"), ("azure", "held")})
    code, _, progress = triplane(alice, "logs", run_id, "--task", "aws infrastructure.main.apply", "-f")
    assert code == 0
    lines = [line for line in progress.splitlines() if line]
    assert lines
    assert all(line.startswith("aws infrastructure.main.apply | ") for line in lines)
    code, document, _ = triplane(alice, "status")
    assert code == 0
    assert run_id in [run["run_id"] for run in document["runs"]]


@pytest.mark.campaign
def test_a_rejection_and_wrong_credentials_have_exit_codes_of_their_own(installation: Installation) -> None:
    alice, bob = environ(installation, "ci-asked"), environ(installation, "ci-asked", "bob")
    commit = installation.small.commit("What nobody wants")
    words = ("deploy", "--cloud", "azure", "--revision", commit, "--wait", "--stop-at-approval")
    code, document, _ = triplane(alice, *words)
    assert (code, document["outcome"]) == (3, "waiting")
    code, _, said = triplane(bob, "reject", document["run_id"], "--reason", "not today", "--yes")
    assert code == 0, said
    code, document, progress = triplane(alice, "status", document["run_id"], "--wait")
    assert (code, document["outcome"]) == (4, "not_approved"), progress
    assert "rejected by bob: not today" in str(document["problems"])
    code, document, _ = triplane({**alice, "TRIPLANE_PASSWORD": "wrong"}, "status")
    assert (code, document["outcome"]) == (7, "denied")
    code, document, _ = triplane(environ(installation, "ci", "vera"), "deploy", "--revision", commit)
    assert (code, document["outcome"]) == (7, "denied")


class Terminal:
    """The command in a terminal of its own."""

    def __init__(self, env: Mapping[str, str], *words: str) -> None:
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            [TRIPLANE, *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=env,
            cwd="/",
            start_new_session=True,
        )
        os.close(slave)
        self.text = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def expect(self, text: str) -> None:
        """Wait until it has shown ``text``."""
        end = time.monotonic() + LIMIT
        while text not in self.text:
            assert self._process.poll() is None, self.text
            assert time.monotonic() < end, self.text
            time.sleep(0.2)

    def wait(self) -> int:
        """Its exit code."""
        code = self._process.wait(LIMIT)
        self._reader.join(5)
        return code

    def close(self) -> None:
        """End it, if it is still there."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._master)

    def _read(self) -> None:
        try:
            while data := os.read(self._master, 65536):
                self.text += data.decode(errors="replace")
        except OSError:
            pass
