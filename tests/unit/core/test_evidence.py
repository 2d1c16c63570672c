"""The bundle that proves how a run came about."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from triplane.core.approval import Decision
from triplane.core.change import ChangeSet, ComponentChange, Risk
from triplane.core.digest import digest
from triplane.core.errors import InputError, RefusedError
from triplane.core.evidence import bundle, evidence
from triplane.core.history import AUTHORIZED, PLANNED, ROLLOUT, body
from triplane.core.ledger import Ledger
from triplane.core.waiver import WAIVER, Waiver

KEY = "k" * 40
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def change_set(cloud: str) -> ChangeSet:
    change = ComponentChange(
        address=f"{cloud}/stack/network",
        action="update",
        risk=Risk.MEDIUM,
        summary="1 to change",
        lines=("~ vpc.main: tags.a 1 -> 2",),
    )
    return ChangeSet(
        platform="shop",
        environment="prod",
        cloud=cloud,
        asked="main",
        revision="c0ffee",
        source="sha256:s",
        spec="sha256:p",
        policy={},
        planned_at=NOW.isoformat(),
        changes=(change,),
        tests=({"name": "unit", "image": "", "summary": "3 passed", "text": "3 passed"},),
    )


def decision(digests: dict[str, str]) -> dict[str, Any]:
    return (
        Decision(
            dag_id="deploy",
            run_id="r1",
            vote=0,
            requester="alice",
            responder="bob",
            approved=True,
            change_sets=digests,
            decided_at=NOW.isoformat(),
            expires_at=(NOW + timedelta(hours=4)).isoformat(),
        )
        .sign([KEY])
        .to_json()
    )


@pytest.fixture
def recorded(tmp_path: Path) -> dict[str, Any]:
    """A rollout of two clouds, and another one of which nothing may show."""
    sets = {item.digest: item for item in (change_set("aws"), change_set("gcp"))}
    signed = decision({item.cloud: name for name, item in sets.items()})
    ledgers = []
    for name, item in sets.items():
        ledger = Ledger(tmp_path, f"prod/{item.cloud}", [KEY])
        ledger.append(PLANNED, {"digest": "sha256:other", "run_id": "r10.aws.plan"})
        ledger.append(PLANNED, {"digest": name, "run_id": f"r1.{item.cloud}.plan"})
        apply = {**body(item), "run_id": f"r1.{item.cloud}.apply"}
        ledger.append(AUTHORIZED, {**apply, "approved_by": ["bob"], "decisions": [signed]})
        ledger.append("applying", {"address": f"{item.cloud}/stack/network", "run": "r1"})
        result = {
            "address": f"{item.cloud}/stack/network",
            "state": "deployed",
            "version": "4",
            "seconds": 1.5,
        }
        ledger.append(ROLLOUT, {**apply, "results": [result]})
        ledgers.append(ledger)
    return {"ledgers": ledgers, "change_set": sets.__getitem__}


def test_it_says_what_was_planned_who_approved_and_what_became_of_it(recorded: dict[str, Any]) -> None:
    text = evidence("r1", **recorded, keys=[KEY])["evidence.md"].decode()
    for cloud in ("aws", "gcp"):
        assert f"## prod/{cloud}: deploy, risk medium" in text
        assert f"| {cloud}/stack/network | deployed | 4 | 1.5 |" in text
    assert text.count(f"approved by bob at {NOW.isoformat()}") == 2
    assert "~ vpc.main: tags.a 1 -> 2" in text
    assert "test unit: 3 passed" in text
    assert "other" not in text


def test_who_let_a_gate_without_data_go_on_is_in_it(tmp_path: Path) -> None:
    waiver = Waiver(
        dag_id="deploy", run_id="r1", task_id="t", gate="aws/function/hook", verdict="sha256:v",
        requester="alice", responder="bob", approved=True, reason="quiet night", decided_at=NOW.isoformat(),
    )  # fmt: skip
    ledger = Ledger(tmp_path, "prod/aws", [KEY])
    signed = waiver.sign([KEY]).to_json()
    ledger.append(WAIVER, {**signed, "reasons": "no value", "refused": ""})
    ledger.append(WAIVER, {**signed, "reasons": "no value", "refused": "bob answered too late"})
    story = evidence("r1", [ledger], change_set, [KEY])["evidence.md"].decode()
    assert "prod/aws: gates without data" in story
    said = "- aws/function/hook: let go on by bob at 2026-11-01T12:00:00+00:00, quiet night"
    assert f"\n{said}\n{said}; it did not count: bob answered too late\n" in story


def test_the_runs_of_one_cloud_are_its_own(recorded: dict[str, Any]) -> None:
    files = evidence("r1.aws.apply", **recorded)
    assert [name for name in files if name.startswith("ledger/")] == ["ledger/prod/aws.json"]


def test_every_file_is_in_the_sealed_manifest(recorded: dict[str, Any]) -> None:
    files = evidence("r1", **recorded, keys=[KEY])
    manifest = json.loads(files["manifest.json"])
    assert manifest["files"] == {
        name: digest(data) for name, data in files.items() if name != "manifest.json"
    }
    assert manifest["seal"]
    assert "seal" not in json.loads(evidence("r1", **recorded)["manifest.json"])


def test_the_same_run_gives_the_same_bytes(recorded: dict[str, Any]) -> None:
    first, second = (bundle(evidence("r1", **recorded, keys=[KEY])) for _ in range(2))
    assert first == second
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert archive.testzip() is None
        assert "evidence.md" in archive.namelist()


def test_an_unknown_run_is_an_error(recorded: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="no ledger knows the run r2"):
        evidence("r2", **recorded)


def test_what_was_tampered_with_is_no_evidence(recorded: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "ledger" / "prod" / "aws" / "00000002.json"
    path.write_text(path.read_text().replace('["bob"]', '["eve"]'))
    with pytest.raises(RefusedError, match="prod/aws is not to be trusted"):
        evidence("r1", **recorded)
