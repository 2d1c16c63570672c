"""``triplane ledger`` and ``triplane evidence``, with the configuration of a worker."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from triplane import settings
from triplane.cli.main import main
from triplane.core import deployed
from triplane.core.change import ChangeSet
from triplane.core.history import PLANNED

SCOPES = ("prod/aws", "staging/aws")


@pytest.fixture(autouse=True)
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    monkeypatch.setenv("AIRFLOW__TRIPLANE__SIGNING_KEY", "k" * 40)
    for scope in SCOPES:
        environment, cloud = scope.split("/")
        change_set = ChangeSet(
            platform="shop",
            environment=environment,
            cloud=cloud,
            asked="main",
            revision="c0ffee",
            source="s",
            spec="p",
            policy={},
            planned_at="2026-11-01T12:00:00+00:00",
            changes=(),
        )
        digest = settings.put_change_set(change_set)
        settings.ledger(scope).append(
            PLANNED, {"digest": digest, "run_id": f"run:{environment}", "risk": "none"}
        )
    return tmp_path / "store" / "ledger"


def test_a_genuine_ledger_is_verified(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", "verify"]) == 0
    assert [line.split(",")[0] for line in capsys.readouterr().out.splitlines()] == [
        f"{scope}: 1 entries" for scope in SCOPES
    ]


def test_an_edited_entry_is_named(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = recorded / "prod" / "aws" / "00000000.json"
    path.write_text(path.read_text().replace('"risk":"none"', '"risk":"high"'))
    assert main(["ledger", "verify"]) == 1
    assert "prod/aws: entry 0 was not written by a worker of this installation" in capsys.readouterr().out
    assert main(["ledger", "verify", "staging/aws"]) == 0


def test_heads_kept_elsewhere_show_a_ledger_that_is_gone(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["ledger", "heads"])
    heads = tmp_path / "heads.json"
    heads.write_text(capsys.readouterr().out)
    assert main(["ledger", "verify", "--heads", str(heads)]) == 0
    (recorded / "prod").rename(tmp_path / "elsewhere")
    assert main(["ledger", "verify"]) == 0
    assert main(["ledger", "verify", "--heads", str(heads)]) == 1
    assert "prod/aws: there is no ledger" in capsys.readouterr().out
    heads.write_text("[]")
    assert main(["ledger", "verify", "--heads", str(heads)]) == 1
    assert "does not hold heads" in capsys.readouterr().err


def test_without_the_key_the_seals_are_said_not_to_be_checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AIRFLOW__TRIPLANE__SIGNING_KEY")
    assert main(["ledger", "verify"]) == 0
    assert "the seals were not" in capsys.readouterr().out


def test_a_ledger_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", "show", "prod/aws"]) == 0
    assert "change_set" in capsys.readouterr().out
    main(["ledger", "show", "--json", "prod/aws"])
    assert json.loads(capsys.readouterr().out)["body"]["run_id"] == "run:prod"


def test_a_new_key_vouches_for_what_the_revoked_one_sealed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__SIGNING_KEY", "n" * 40)
    assert main(["ledger", "verify", "prod/aws"]) == 1
    assert "triplane ledger reseal prod/aws" in capsys.readouterr().out
    assert main(["ledger", "reseal", "prod/aws"]) == 0
    assert main(["ledger", "verify", "prod/aws"]) == 0


def test_what_was_left_behind_can_be_forgotten_and_that_is_recorded(
    capsys: pytest.CaptureFixture[str],
) -> None:
    scope, addresses = "prod/aws", ("aws/chart/api", "aws/function/old")
    store = settings.artifact_store()
    results = [{"address": address, "state": "deployed", "version": "3"} for address in addresses]
    plan = settings.ledger(scope).entries(PLANNED)[0]
    deployed.record(store, settings.get_change_set(plan.body["digest"]), results, "run")
    assert set(deployed.left_behind(store, scope, ["aws/chart/api"])) == {"aws/function/old"}

    assert main(["ledger", "forget", scope, "aws/function/older", "--reason", "x"]) == 1
    assert "aws/function/older is not among what was deployed: aws/chart/api, aws/function/old" in (
        capsys.readouterr().err
    )
    assert main(["ledger", "forget", scope, "aws/function/old", "--reason", "deleted by hand"]) == 0
    assert capsys.readouterr().out == "prod/aws: aws/function/old is forgotten, entry 1\n"
    assert deployed.left_behind(store, scope, ["aws/chart/api"]) == {}
    (entry,) = settings.ledger(scope).entries(deployed.FORGOTTEN)
    assert (entry.body["address"], entry.body["reason"]) == ("aws/function/old", "deleted by hand")
    assert (entry.body["version"], bool(entry.body["by"])) == ("3", True)


def test_nothing_is_forgotten_off_the_record(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, scope = settings.artifact_store(), "prod/aws"
    plan = settings.ledger(scope).entries(PLANNED)[0]
    result = {"address": "aws/function/old", "state": "deployed", "version": "3"}
    deployed.record(store, settings.get_change_set(plan.body["digest"]), [result], "run")
    path = recorded / "prod" / "aws" / "00000000.json"
    path.write_text(path.read_text().replace('"risk":"none"', '"risk":"high"'))
    assert main(["ledger", "forget", scope, "aws/function/old", "--reason", "x"]) == 1
    assert "is not to be trusted" in capsys.readouterr().err
    assert set(deployed.read(store, scope)) == {"aws/function/old"}


def test_evidence_is_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["evidence", "run:prod"]) == 0
    with zipfile.ZipFile(tmp_path / "evidence-run-prod.zip") as archive:
        assert "ledger/prod/aws.json" in archive.namelist()
    assert main(["evidence", "nobody"]) == 1
    assert "no ledger knows the run nobody" in capsys.readouterr().err
