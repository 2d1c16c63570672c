from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from triplane.core.drift import Ignore, judge, memory
from triplane.core.redact import Redactor
from triplane.kubernetes.drift import Seen, findings, history
from triplane.kubernetes.helm import Observed, Revision, record
from triplane.kubernetes.objects import Id

ONE, TWO = ("sha256:" + letter * 64 for letter in "12")
OURS = record(ONE, TWO)


def deployment(image: str = ONE, replicas: int = 2) -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": "main", "image": f"r/api@{image}"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "api", "namespace": "n", "uid": "d"},
        "spec": {"replicas": replicas, "template": template},
    }


def pod(image: str, image_id: str = "") -> dict[str, Any]:
    running = {"name": "main", "imageID": f"r/api@{image_id}", "state": {"running": {}}}
    return {
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "n", "uid": "p", "ownerReferences": [{"uid": "s"}]},
        "spec": {"containers": [{"name": "main", "image": image}]},
        "status": {"containerStatuses": [running]},
    }


def seen(live: dict[str, Any] | None, *beside: dict[str, Any]) -> Seen:
    owned = {"name": "s", "namespace": "n", "uid": "s", "ownerReferences": [{"uid": "d"}]}
    key = Id.of(deployment()).key
    return Seen(
        deployed=[deployment()],
        live={key: live} if live else {},
        again={key: deployment()},
        beside=[{"kind": "ReplicaSet", "metadata": owned}, *beside],
    )


def names(found: list[dict[str, Any]]) -> list[str]:
    return [item["address"] for item in found]


def test_what_is_gone() -> None:
    found, _ = findings(seen(None), Redactor())
    assert [(item["address"], item["action"]) for item in found] == [("deployment n/api", "delete")]


def test_what_was_changed_shows_both_values() -> None:
    found, noise = findings(seen(deployment(replicas=5)), Redactor())
    assert found[0]["attributes"] == [{"name": "spec.replicas", "before": "2", "after": "5"}]
    assert not noise


def test_replicas_of_an_autoscaler_are_noise() -> None:
    target = {"kind": "Deployment", "name": "api"}
    meta = {"name": "api", "namespace": "n", "uid": "h"}
    autoscaler = {
        "kind": "HorizontalPodAutoscaler",
        "metadata": meta,
        "spec": {"scaleTargetRef": target},
    }
    found, noise = findings(seen(deployment(replicas=5), autoscaler), Redactor())
    assert not found
    assert noise == ["deployment n/api: an autoscaler set its replicas"]


@pytest.mark.parametrize(
    ("asked", "runs", "drifted"),
    [
        (f"r/api@{ONE}", ONE, False),
        (f"r/api@{ONE}", TWO, False),  # a node names the platform's manifest of an index
        (f"r/api@{TWO}", TWO, True),
        ("r/api:latest", TWO, True),
        ("r/api:latest", ONE, False),
    ],
)
def test_images_that_run(asked: str, runs: str, drifted: bool) -> None:
    found, _ = findings(seen(deployment(), pod(asked, runs)), Redactor())
    assert names(found) == (["pods of deployment n/api"] if drifted else [])


@pytest.mark.parametrize(
    ("revisions", "expected"),
    [
        ([Revision(1, "deployed", OURS)], []),
        (
            [Revision(1, "superseded", OURS), Revision(2, "deployed", "Upgrade complete")],
            ["revision 2 was made by hand"],
        ),
        (
            [Revision(1, "deployed", OURS), Revision(2, "pending-upgrade", OURS)],
            ["revision 2 is pending-upgrade"],
        ),
        (
            [
                Revision(1, "superseded", OURS),
                Revision(2, "failed", OURS),
                Revision(3, "deployed", "Rollback to 1"),
            ],
            [],
        ),
        (
            [
                Revision(1, "superseded", OURS),
                Revision(2, "superseded", OURS),
                Revision(3, "deployed", "Rollback to 1"),
            ],
            ["was rolled back to revision 1 by hand (revision 3)"],
        ),
        (
            [
                Revision(2, "superseded", OURS),
                Revision(3, "failed"),
                Revision(4, "deployed", "Rollback to 1"),
            ],
            [],
        ),
    ],
)
def test_history(revisions: list[Revision], expected: list[str]) -> None:
    found = list(history(Observed(tuple(revisions)), "n/api"))
    assert [item["action"] for item in found] == expected


def test_a_rollback_of_ours_is_nobodys_hand() -> None:
    revisions = (
        Revision(1, "superseded", OURS),
        Revision(2, "superseded", OURS),
        Revision(3, "deployed", "Rollback to 1"),
    )
    assert list(history(Observed(revisions), "n/api", ours=3)) == []
    assert len(list(history(Observed(revisions), "n/api", ours=2))) == 1


def test_memory_ignores_and_pending() -> None:
    found, _ = findings(seen(deployment(replicas=5)), Redactor())
    first = judge("aws/manifests/api", found)
    second = judge("aws/manifests/api", found, before=memory(first))
    assert (first.state, second.resources[0]["first_seen"]) == ("drifted", first.resources[0]["first_seen"])
    rule = Ignore(resource="deployment *", attribute="spec.replicas", reason="r", until=date(2999, 1, 1))
    ignored = judge("aws/manifests/api", found, ignores=[rule], before=memory(first))
    assert (ignored.state, ignored.cured) == ("in_sync", ["deployment n/api"])
    old = judge("a", found, ignores=[Ignore(resource="*", reason="r", until=date(2000, 1, 1))])
    assert (old.state, len(old.expired)) == ("drifted", 1)
    assert judge("a", (), pending="it was never applied").state == "pending"
