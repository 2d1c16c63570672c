"""The bundled Terraform behaves like the program: arguments, output, return codes, environment, signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from triplane.terraform.binary import find

INTERRUPTED = """
resource "terraform_data" "first" {}
resource "terraform_data" "slow" {
  depends_on = [terraform_data.first]
  provisioner "local-exec" { command = "sleep 60" }
}
"""


def terraform(folder: Path, *arguments: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*find("bundled").argv, *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "TF_CLI_CONFIG_FILE": "/dev/null", "CHECKPOINT_DISABLE": "1", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def said(folder: Path, *arguments: str, **env: str) -> tuple[int, str, str]:
    process = terraform(folder, *arguments, **env)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_arguments_output_and_return_codes(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text('variable "text" {}\noutput "text" { value = var.text }\n')
    text = "-a 'b' \"c\"  ü\n$HOME *"
    code, out, err = said(tmp_path, "plan", "-no-color", "-detailed-exitcode", "-out=p", f"-var=text={text}")
    assert (code, err) == (2, "")
    assert "Changes to Outputs" in out
    code, out, _ = said(tmp_path, "show", "-json", "p")
    assert (code, json.loads(out)["variables"]["text"]["value"]) == (0, text)
    code, out, err = said(tmp_path, "apply", "-no-color", "nowhere")
    assert (code, out) == (1, "")
    assert 'Failed to load "nowhere" as a plan file' in err
    code, out, err = said(tmp_path)
    assert (code, err) == (127, "")
    assert out.startswith("Usage: terraform [global options] <subcommand> [args]")


def test_the_environment_reaches_it(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text('variable "text" {}\noutput "text" { value = var.text }\n')
    code, out, _ = said(tmp_path, "plan", "-input=false", TF_VAR_text="héllo", TF_CLI_ARGS_plan="-no-color")
    assert code == 0
    assert '+ text = "héllo"' in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_state_and_frees_the_lock(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "main.tf").write_text(INTERRUPTED)
    process = terraform(tmp_path, "apply", "-no-color", "-auto-approve")
    assert process.stdout is not None
    while "Executing:" not in process.stdout.readline():
        assert process.poll() is None
    assert (tmp_path / ".terraform.tfstate.lock.info").exists()
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "Gracefully shutting down" in out
    assert "execution halted" in err
    assert not (tmp_path / ".terraform.tfstate.lock.info").exists()
    state = json.loads((tmp_path / "terraform.tfstate").read_text())
    assert [resource["name"] for resource in state["resources"]] == ["first", "slow"]
    assert state["resources"][1]["instances"][0]["status"] == "tainted"


def test_a_signal_at_any_moment_of_the_start_is_not_lost(tmp_path: Path) -> None:
    """SIGTERM, since Python itself swallows a SIGINT in its own first milliseconds. That Terraform got it is enough:
    between plan and apply it says so and goes on, as the program does.
    """
    (tmp_path / "main.tf").write_text(INTERRUPTED)
    for milliseconds in range(5, 125, 10):
        process = terraform(tmp_path, "apply", "-no-color", "-auto-approve")
        time.sleep(milliseconds / 1000)
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "Interrupt received" in line or "Still creating" in line:
                break
        else:
            assert process.wait(30) != 0, f"after {milliseconds} ms: {lines}"
            continue
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert "Interrupt received" in lines[-1], f"after {milliseconds} ms: {lines}"


def test_killing_it_kills_all_of_it(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text(INTERRUPTED)
    process = terraform(tmp_path, "apply", "-no-color", "-auto-approve")
    assert process.stdout is not None
    while "Executing:" not in process.stdout.readline():
        assert process.poll() is None
    (child,) = [one for one in psutil.Process(process.pid).children() if "bundled.py" in str(one.cmdline())]
    process.kill()
    assert psutil.wait_procs([child], timeout=10)[0]
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_what_it_starts_has_the_usual_signals(tmp_path: Path) -> None:
    """Python ignores SIGPIPE, which a command in HCL must not inherit."""
    (tmp_path / "main.tf").write_text(
        'resource "terraform_data" "a" {\n  provisioner "local-exec" { command = "grep SigIgn /proc/self/status" }\n}\n'
    )
    code, out, _ = said(tmp_path, "apply", "-no-color", "-auto-approve")
    assert code == 0
    ignored = int(out.split("SigIgn:")[1].split()[0], 16)
    assert not ignored & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1 | 1 << signal.SIGINT - 1)
