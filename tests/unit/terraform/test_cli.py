from __future__ import annotations

import json
import stat
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from triplane.core.errors import InputError, StaleError, ToolError
from triplane.core.redact import Redactor
from triplane.terraform import arguments, cli
from triplane.terraform.backends import backend_config, state_key
from triplane.terraform.binary import Binary
from triplane.terraform.events import Events, Lock, parse_lock, plain


def test_argv() -> None:
    plan = Path("/w/new.tfplan")
    assert arguments.init_args() == ("init", "-json", "-no-color", "-input=false")
    assert arguments.init_args(Path("/w/b.json"))[-1] == "-backend-config=/w/b.json"
    assert arguments.plan_args(out=plan, var_file=Path("/w/v.json"), lock_timeout=300) == (
        *("plan", "-json", "-input=false", "-detailed-exitcode", "-lock-timeout=300s"),
        *("-var-file=/w/v.json", "-out=/w/new.tfplan"),
    )
    assert "-destroy" in arguments.plan_args(out=plan, lock_timeout=1, destroy=True)
    assert arguments.show_args(plan) == ("show", "-json", "/w/new.tfplan")
    assert arguments.apply_args(plan, lock_timeout=0.5) == (
        *("apply", "-json", "-input=false", "-lock-timeout=0.5s", "/w/new.tfplan"),
    )
    assert arguments.pull_args() == ("state", "pull")


def test_environment_passes_only_what_it_means_to(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TF_LOG", "TF_CLI_ARGS", "TF_VAR_x", "AWS_SECRET_ACCESS_KEY", "AIRFLOW__CORE__FERNET_KEY"):
        monkeypatch.setenv(name, "leak")
    for name in arguments.PASSED:
        monkeypatch.setenv(name, "passed")
    env = arguments.environment({"password": "p"})
    assert "leak" not in env.values()
    assert {name: env[name] for name in arguments.PASSED} == dict.fromkeys(arguments.PASSED, "passed")
    assert env["TF_VAR_password"] == "p"
    assert env["TF_PLUGIN_CACHE_MAY_BREAK_DEPENDENCY_LOCK_FILE"] == "1"
    assert env["TF_IN_AUTOMATION"] == "1"


def test_the_plugin_cache_is_found_where_people_set_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "terraform.rc"
    config.write_text('disable_checkpoint = true\nplugin_cache_dir   = "$HOME/plugins"\n')
    monkeypatch.setenv("HOME", str(tmp_path))
    assert arguments.plugin_cache({"TF_CLI_CONFIG_FILE": str(config)}) == tmp_path / "plugins"
    assert arguments.plugin_cache({"TF_PLUGIN_CACHE_DIR": "/c", "TF_CLI_CONFIG_FILE": str(config)}) == Path(
        "/c"
    )
    assert arguments.plugin_cache({"TF_CLI_CONFIG_FILE": "/dev/null"}) is None
    assert arguments.plugin_cache({}) is None
    config.rename(tmp_path / ".terraformrc")
    assert arguments.plugin_cache({}) == tmp_path / "plugins"


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
    begun: list[datetime] = []
    Events(on_started=begun.append).read(
        event("apply_start", **{"@timestamp": "2026-11-22T23:00:01.5+01:00"})
    )
    assert begun == [datetime(2026, 11, 22, 22, 0, 1, 500_000, UTC)]


def test_what_a_crashed_provider_failed_to_create_may_exist() -> None:
    events = Events()
    create = {"hook": {"resource": {"addr": "a.b"}, "action": "create"}}
    events.read(event("apply_start", **create))
    events.read(event("apply_errored", **create))
    before: dict[str, object] = {"created": {}, "creating": []}
    assert events.journal(before)["creating"] == []
    events.read(event("diagnostic", diagnostic={"severity": "error", "summary": "Plugin did not respond"}))
    assert events.journal(before)["creating"] == ["a.b"]


def test_a_state_that_is_saved_nowhere_else_is_among_the_events() -> None:
    events = Events()
    assert events.read(event("log", "Emergency state dump", state={"serial": 3, "x": "s3cr3t"})) == (
        "Emergency state dump"
    )
    assert events.dumped == '{"serial": 3, "x": "s3cr3t"}'
    assert "s3cr3t" not in repr(events)


def test_what_terraform_said_is_shown_without_its_json() -> None:
    cut_off = event("apply_start", "lost")[20:]
    said = [cut_off, *(event("apply_start", f"{n}: Creating...") for n in range(9)), "panic: oh"]
    assert plain("\n".join(said)) == "; ".join([*(f"{n}: Creating..." for n in range(5, 9)), "panic: oh"])
    assert plain("Failed:\n  ID: 1") == "Failed:\n  ID: 1"


FREED_IN_VAIN = """Failed to unlock state: lock ID "0" does not match existing lock ("e929dc3b")
Lock Info:
  ID:        e929dc3b-8a18-b75c-77d8-b951b689534f
  Path:      streaming-tfstate/probe/x.tfstate
  Operation: OperationTypeApply
  Who:       root@vm
  Version:   1.11.4
  Created:   2026-11-23 22:07:45.884088672 +0000 UTC
  Info:

"""


def test_the_lock_that_could_not_be_freed_is_named() -> None:
    lock = parse_lock(FREED_IN_VAIN)
    assert lock is not None
    assert lock.id == "e929dc3b-8a18-b75c-77d8-b951b689534f"
    assert lock.since == datetime(2026, 11, 23, 22, 7, 45, 884088, UTC)
    assert parse_lock('Failed to unlock state: failed to retrieve lock info for lock ID "0"') is None


@pytest.mark.parametrize(
    ("created", "expected"),
    [
        ("2026-11-23 22:07:45.9 +0000 UTC", "since 2026-11-23 22:07:45.9 +0000 UTC, for 0 seconds"),
        ("2026-11-23 22:07:44 +0000 UTC", "for 1 second,"),
        ("2026-11-23T22:04:01Z", "for 3 minutes"),
        ("2026-11-23T19:07:45.123456789Z", "for 3 hours"),
        ("2026-11-21 22:00:00 +0000 UTC", "for 2 days"),
        ("2026-11-23 22:09:00 +0000 UTC", "for 0 seconds"),
        ("2026-11-23 22:00:00 +0200 CEST", "+0200 CEST, lock id 1"),
        ("", "since , lock id 1"),
    ],
)
def test_a_lock_says_how_old_it_is(created: str, expected: str) -> None:
    now = datetime(2026, 11, 23, 22, 7, 45, 950_000, UTC)
    assert expected in Lock("1", "root@vm", "OperationTypeApply", created).told(now)


def fake(folder: Path, script: str) -> cli.Terraform:
    """A stand-in that says what Terraform cannot be brought to say here."""
    binary = folder / "terraform"
    binary.write_text(f"#!/bin/sh\n{script}\n")
    binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
    redactor = Redactor(["s3cr3t"])
    env = {"PATH": "/usr/bin:/bin"}
    return cli.Terraform(
        directory=folder,
        env=env,
        binary=Binary((str(binary),), "terraform"),
        say=lambda _: None,
        redactor=lambda: redactor,
    )


def test_errors_are_translated_and_redacted(tmp_path: Path) -> None:
    plan = tmp_path / "p"
    stale = event("diagnostic", diagnostic={"severity": "error", "summary": "Saved plan is stale"})
    with pytest.raises(StaleError, match="plan again"):
        fake(tmp_path, f"echo '{stale}'; exit 1").apply(plan)
    locked = event("diagnostic", diagnostic=LOCKED).replace("'", "")
    with pytest.raises(
        cli.LockedError, match=r"root@vm \(OperationTypeApply\).*, for \d+ \w+,.*force-unlock 3bb7-1"
    ):
        fake(tmp_path, f"cat <<'E'\n{locked}\nE\nexit 1").apply(plan)
    said = event("diagnostic", diagnostic={"severity": "error", "summary": "no s3cr3t"})
    with pytest.raises(cli.ApplyError, match=r"no \*\*\*") as failed:
        fake(tmp_path, f"echo '{event('apply_start')}'; echo '{said}'; exit 1").apply(plan)
    assert failed.value.events.started == 1
    with pytest.raises(ToolError, match=r"bad \*\*\*"):
        fake(tmp_path, "echo bad s3cr3t >&2; exit 1").init()


SLIPPED = {
    "severity": "error",
    "summary": "Error acquiring the state lock",
    "detail": "operation error DynamoDB: PutItem, ConditionalCheckFailedException: The conditional request failed; "
    'Unable to retrieve item from DynamoDB table "streaming-tflock"',
}


def test_a_lock_that_is_freed_while_terraform_looks_who_holds_it(tmp_path: Path) -> None:
    refused = f"echo x >>count; cat <<'E'\n{event('diagnostic', diagnostic=SLIPPED)}\nE\nexit 1"
    with pytest.raises(cli.LockedError, match=r"by whom cannot be seen: .*waited 1 s\."):
        replace(fake(tmp_path, refused), lock_timeout=1).apply(tmp_path / "p")
    assert (tmp_path / "count").read_text().count("x") > 1
    fake(tmp_path, f"[ -e count ] || exit 0; rm count; {refused.partition('; ')[2]}").apply(tmp_path / "p")
    assert not (tmp_path / "count").exists()
    denied = {**SLIPPED, "detail": "AccessDeniedException: not authorized to perform dynamodb:PutItem"}
    with pytest.raises(ToolError, match="AccessDeniedException"):
        fake(tmp_path, f"echo x >>count; echo '{event('diagnostic', diagnostic=denied)}'; exit 1").apply(
            tmp_path / "p"
        )
    assert (tmp_path / "count").read_text() == "x\n"


def test_an_opentofu_in_disguise_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"/terraform is tofu 1\.10\.6, but its name says otherwise"):
        fake(tmp_path, "echo OpenTofu v1.10.6").init()


def test_messages_name_the_tool_and_not_what_starts_it(tmp_path: Path) -> None:
    terraform = replace(
        fake(tmp_path, "exit 1"), binary=Binary(("/bin/sh", "-c", "exit 3", "x"), "terraform")
    )
    with pytest.raises(ToolError, match=r"^terraform state ended with 3: no output"):
        terraform.pull()
