"""The marks that a rollout leaves in monitoring."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from triplane import settings
from triplane.core.change import ChangeSet
from triplane.gates.markers import Marker, write
from triplane.rollout.operators import CHANGED


def mark(
    places: Sequence[Mapping[str, Any]],
    change_set: ChangeSet,
    results: Sequence[Mapping[str, Any]],
    run_id: str,
    log: Callable[[str], None],
) -> None:
    """Write the rollout to each place, if it changed anything. A mark that cannot be written fails no rollout."""
    changed = [result for result in results if result["state"] in CHANGED]
    if not changed:
        return
    marker = Marker(
        platform=change_set.platform,
        environment=change_set.environment,
        cloud=change_set.cloud,
        revision=change_set.revision,
        run_id=run_id,
        intent=change_set.intent,
        changed=len(changed),
        seconds=sum(float(result.get("seconds") or 0.0) for result in changed),
        at=time.time(),
    )
    for place in places:
        try:
            write(place, marker)
            log(f"Marked in {place['kind']}: {marker.said}")
        except (
            Exception
        ) as error:  # a connection that is missing, for example: each kind has errors of its own
            log(f"No mark in {place['kind']}: {settings.redactor()(str(error))}")
