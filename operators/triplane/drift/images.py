"""Whether the image that serves is the one that was deployed, from what the checks of its users have seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from triplane.core.drift import UNKNOWN, Check, finding, judge, unknown


def check(
    address: str,
    users: Sequence[str],
    checks: Mapping[str, Mapping[str, Any]],
    *,
    before: Mapping[str, Any] | None = None,
    run: str = "",
) -> Check:
    """The answer for the image at ``address`` (``<cloud>/image/<name>``).

    :param users: addresses of the components that run it
    :param checks: address -> the check of a component
    :param before: what the check before has kept, see :func:`triplane.core.drift.memory`
    :param run: id of the run
    """
    name = address.rpartition("/")[2]
    blind = [user for user in users if checks.get(user, {}).get("state", UNKNOWN) == UNKNOWN]
    if blind:
        return unknown(address, f"not checked, since these were not: {', '.join(blind)}", before)
    seen = [
        (user, image) for user in users for image in checks[user].get("images", ()) if image["image"] == name
    ]
    if not seen:
        pending = "nothing that is deployed runs it by its digest"
        return judge(address, [], pending=pending, before=before, run=run)
    if not any(image["serving"] for _, image in seen):
        gone = finding(f"image {name}", "delete")
        return judge(address, [gone], missing=True, before=before, run=run)
    findings = {
        (user, image["deployed"], tuple(image["serving"])): None
        for user, image in seen
        if image["serving"] and image["serving"] != [image["deployed"]]
    }
    return judge(
        address,
        [
            finding(
                f"image {name} of {user}",
                "update",
                [{"name": "digest", "before": deployed, "after": ", ".join(serving)}],
            )
            for user, deployed, serving in findings
        ],
        before=before,
        run=run,
    )
