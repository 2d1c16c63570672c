"""A gate without data asks a person in a real Airflow: after a wait in the triggerer, and fails closed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.deployment.conftest import Installation
from triplane.core.ledger import Ledger
from triplane.core.waiver import WAIVER, Waiver

pytestmark = pytest.mark.timeout(300)
DAG = "silent_gates"


def test_only_what_a_person_lets_go_on_goes_on(installation: Installation) -> None:
    run_id = installation.alice.trigger(DAG, {})
    asked = {each["task_instance"]["task_id"]: each for each in _questions(installation, run_id)}
    assert "errors: nothing was observed" in asked["approved"]["body"]
    assert installation.carol.answer(asked["approved"], "Approve").status_code == 403
    assert installation.bob.answer(asked["approved"], "Approve").status_code == 200
    assert installation.bob.answer(asked["rejected"], "Reject").status_code == 200
    assert installation.alice.wait(DAG, run_id) == "failed"
    states = {task["task_id"]: task["state"] for task in installation.alice.tasks(DAG, run_id)}
    assert states == {"approved": "success", "rejected": "failed", "expired": "failed"}
    assert "rejected by bob" in installation.log(DAG, run_id, "rejected")
    assert "nobody answered in time" in installation.log(DAG, run_id, "expired")
    found = installation.alice.xcom(DAG, run_id, "approved")
    assert (found["state"], found["waived"]) == ("no_data", "bob let it go on: as planned")

    keys = [installation.airflow.environ["AIRFLOW__TRIPLANE__SIGNING_KEY"]]
    ledger = Ledger(installation.airflow.home / "triplane", "silent/aws", keys)
    waivers = [Waiver.from_json(entry.body) for entry in ledger.entries(WAIVER)]
    assert {waiver.task_id: waiver.approved for waiver in waivers} == {"approved": True, "rejected": False}
    assert all(waiver.signed_by(keys) for waiver in waivers)
    assert {waiver.run_id for waiver in waivers} == {run_id}


def _questions(installation: Installation, run_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while not {"approved", "rejected"} <= {each["task_instance"]["task_id"] for each in found}:
        found = installation.alice.wait_for_question(DAG, run_id)
    return found
