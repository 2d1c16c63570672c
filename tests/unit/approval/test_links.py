"""Links into Airflow's UI."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from triplane.approval.links import log_link

RUN = SimpleNamespace(dag_id="deploy", run_id="manual__2026-11-27T01:00:00+00:00")


def test_they_lead_to_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.com/ops/")
    run = "https://airflow.example.com/ops/dags/deploy/runs/manual__2026-11-27T01%3A00%3A00%2B00%3A00"
    assert log_link(RUN, "approval", 1) == f"{run}/tasks/approval/mapped/1"
    assert log_link(RUN, "approval", -1) == log_link(RUN, "approval", None) == f"{run}/tasks/approval"


def test_without_an_address_there_is_no_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "")
    assert log_link(RUN, "approval", 0) == ""
