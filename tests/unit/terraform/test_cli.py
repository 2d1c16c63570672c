from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from triplane.core.errors import InputError, StaleError, ToolError
from triplane.core.redact import Redactor
from triplane.terraform import cli
from triplane.terraform.backends import backend_config, state_key
from triplane.terraform.events import Events, Lock


def test_argv() -> None:
    plan = Path("/w/new.tfplan")
    assert cli.init_args() == ("init", "-json", "-no-color", "-input=false")
    assert cli.init_args(Path("/w/b.json"))[-1] == "-backend-config=/w/b.json"
    assert cli.plan_args(out=plan, var_file=Path("/w/v.json"), lock_timeout=300) == (
        *("plan", "-json", "-input=false", "-detailed-exitcode", "-lock-timeout=300s"),
        *("-var-file=/w/v.json", "-out=/w/new.tfplan"),
    )
    assert "-destroy" in cli.plan_args(out=plan, lock_timeout=1, destroy=True)
    assert "-refresh-only" in cli.plan_args(out=plan, lock_timeout=1, refresh_only=True)
    assert cli.show_args(plan) == ("show", "-json", "/w/new.tfplan")
    assert cli.apply_args(plan, lock_timeout=0.5) == (
        *("apply", "-json", "-input=false", "-lock-timeout=0.5s", "/w/new.tfplan"),
    )
    assert cli.pull_args() == ("state", "pull")


def test_environment_passes_only_what_it_means_to(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TF_LOG", "TF_CLI_ARGS", "TF_VAR_x", "AWS_SECRET_ACCESS_KEY", "AIRFLOW__CORE__FERNET_KEY"):
        monkeypatch.setenv(name, "leak")
    for name in cli.PASSED:
        monkeypatch.setenv(name, "passed")
    env = cli.environment({"AWS_REGION": "eu-west-1"}, {"password": "p"})
    assert "leak" not in env.values()
    assert {name: env[name] for name in cli.PASSED} == dict.fromkeys(cli.PASSED, "passed")
    assert env["TF_VAR_password"] == "p"
    assert env["AWS_REGION"] == "eu-west-1"
    assert env["TF_IN_AUTOMATION"] == "1"


@pytest.mark.parametrize(
    ("cloud", "backend", "expected"),
    [
        (
            "aws",
            {"bucket": "b", "lock_table": "t", "key": "k.tfstate"},
            {
                "bucket": "b",
                "key": "k.tfstate",
                "encrypt": True,
                "region": "eu-west-1",
                "dynamodb_table": "t",
            },
        ),
        (
            "aws",
            {"bucket": "b", "lock_table": None, "key": "k", "kms_key_id": "x"},
            {
                **{"bucket": "b", "key": "k", "encrypt": True, "region": "eu-west-1"},
                **{"use_lockfile": True, "kms_key_id": "x"},
            },
        ),
        ("gcp", {"bucket": "b", "key": "p/e/s.tfstate"}, {"bucket": "b", "prefix": "p/e/s"}),
        (
            "azure",
            {"resource_group": "g", "storage_account": "a", "container": "c", "key": "k"},
            {
                **{"resource_group_name": "g", "storage_account_name": "a"},
                **{"container_name": "c", "key": "k"},
            },
        ),
        (None, {"path": "/s/x.tfstate"}, {"path": "/s/x.tfstate"}),
    ],
)
def test_backends(cloud: str | None, backend: dict[str, object], expected: dict[str, object]) -> None:
    assert backend_config(cloud, backend, region="eu-west-1") == expected


def test_a_backend_says_what_it_misses() -> None:
    with pytest.raises(InputError, match="azurerm state backend of cloud azure needs 'storage_account'"):
        backend_config("azure", {"resource_group": "g", "key": "k"})
    assert state_key("p", "staging", "network") == "p/staging/network.tfstate"


def event(kind: str, message: str = "m", **more: object) -> str:
    return json.dumps({"@message": message, "type": kind, **more})


LOCKED = {
    "severity": "error",
    "summary": "Error acquiring the state lock",
    "detail": "Error message: ConditionalCheckFailed, RequestID: 77\nLock Info:\n  ID:        3bb7-1\n"
    "  Path:      b/k\n  Operation: OperationTypeApply\n  Who:       root@vm\n"
    "  Created:   2026-11-22 22:00:01 +0000 UTC\n  Info:      \n\n\nTerraform acquires",
}


def test_events() -> None:
    events = Events()
    assert events.read(event("apply_start", "a: Creating...")) == "a: Creating..."
    assert events.read(event("refresh_start")) is None
    assert events.read("plain  text ") == "plain text"
    assert events.read('{"broken') == '{"broken'
    where = {"filename": "main.tf", "start": {"line": 3}}
    said = {"severity": "error", "summary": "Bad", "detail": "Very\nbad", "address": "a.b", "range": where}
    assert events.read(event("diagnostic", diagnostic=said)) == "error: a.b: Bad: Very bad (main.tf:3)"
    assert (events.started, events.lock, events.stale) == (1, None, False)
    events.read(event("diagnostic", diagnostic=LOCKED))
    assert events.lock == Lock("3bb7-1", "root@vm", "OperationTypeApply", "2026-11-22 22:00:01 +0000 UTC")


def fake(folder: Path, script: str) -> cli.Terraform:
    """A stand-in that says what Terraform cannot be brought to say here."""
    binary = folder / "terraform"
    binary.write_text(f"#!/bin/sh\n{script}\n")
    binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
    redactor = Redactor(["s3cr3t"])
    env = {"PATH": "/usr/bin:/bin"}
    return cli.Terraform(
        directory=folder, env=env, binary=str(binary), say=lambda _: None, redactor=lambda: redactor
    )


def test_errors_are_translated_and_redacted(tmp_path: Path) -> None:
    plan = tmp_path / "p"
    stale = event("diagnostic", diagnostic={"severity": "error", "summary": "Saved plan is stale"})
    with pytest.raises(StaleError, match="plan again"):
        fake(tmp_path, f"echo '{stale}'; exit 1").apply(plan)
    locked = event("diagnostic", diagnostic=LOCKED).replace("'", "")
    with pytest.raises(cli.LockedError, match=r"root@vm \(OperationTypeApply\).*force-unlock 3bb7-1"):
        fake(tmp_path, f"cat <<'E'\n{locked}\nE\nexit 1").apply(plan)
    said = event("diagnostic", diagnostic={"severity": "error", "summary": "no s3cr3t"})
    with pytest.raises(cli.ApplyError, match=r"no \*\*\*") as failed:
        fake(tmp_path, f"echo '{event('apply_start')}'; echo '{said}'; exit 1").apply(plan)
    assert failed.value.started == 1
    with pytest.raises(ToolError, match=r"bad \*\*\*"):
        fake(tmp_path, "echo bad s3cr3t >&2; exit 1").init()
