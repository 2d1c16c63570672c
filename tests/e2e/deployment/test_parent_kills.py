"""A few of the kills of ``make chaos``: one in each phase of one run."""

from __future__ import annotations

import pytest

from tests.chaos.parent import ParentTrials
from tests.e2e.deployment.conftest import Installation


@pytest.mark.campaign
def test_a_run_ends_right_whoever_is_killed_meanwhile(installation: Installation) -> None:
    trials = ParentTrials(installation.airflow, installation.small)
    verdict = trials.run(("plan", "task"), ("approval", "scheduler"), ("apply", "api-server"))
    assert not verdict.bad, verdict
