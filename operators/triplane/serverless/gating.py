"""What a gate asks about one step of a deployment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from triplane.core.errors import InputError
from triplane.core.references import references, resolve
from triplane.gates.check import Check
from triplane.serverless.deployment import Attempt, Deployment
from triplane.serverless.target import main_version

NAMES = ("gate.name", "gate.version", "gate.previous")


def check(gate: Sequence[Mapping[str, Any]]) -> None:
    """:raises InputError: the checks make no sense, or refer to what a gate does not know"""
    for each in gate:
        Check.from_json(each)
        if strange := sorted(references(each) - {*NAMES}):
            raise InputError(f"gate {each.get('name')}: ${{{strange[0]}}} is none of {', '.join(NAMES)}")


def checks(gate: Sequence[Mapping[str, Any]], deployment: Deployment, attempt: Attempt) -> list[Check]:
    """The checks of a step: about the versions that share the traffic now, and for at least as long as it waits.

    Those that compare are not about a first version: there is nothing to compare it with.
    """
    before = main_version(attempt.previous.version) if attempt.previous else ""
    known = dict(zip(NAMES, (deployment.desired.name, attempt.version, before), strict=True))
    wait = 0.0 if deployment.last(attempt) else deployment.traffic.wait
    found = [Check.from_json(resolve(each, known.__getitem__)) for each in gate]
    asked = [each for each in found if before or each.against == "nothing"]
    return [replace(each, lasting=max(each.lasting, wait)) for each in asked]


def told(checks: Sequence[Check]) -> str:
    """Their names."""
    return ", ".join(each.name or each.source for each in checks)
