"""Names of runs that other runs start."""

from __future__ import annotations


def apply_run_id(run_id: str, cloud: str) -> str:
    """The id of the only child run that may apply what parent run ``run_id`` approved for ``cloud``."""
    return f"{run_id}.{cloud}.apply"


def plan_run_id(run_id: str, cloud: str) -> str:
    """The id of the child run that plans ``cloud`` for parent run ``run_id``."""
    return f"{run_id}.{cloud}.plan"


def settle_run_id(run_id: str, cloud: str) -> str:
    """The id of the only child run that may undo in ``cloud`` what parent run ``run_id`` applied there."""
    return f"{run_id}.{cloud}.settle"
