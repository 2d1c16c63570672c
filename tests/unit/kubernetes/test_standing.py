from __future__ import annotations

from typing import Any

import pytest

from triplane.kubernetes.reasons import Log
from triplane.kubernetes.rollout import Look, get_args, log_args, workloads
from triplane.kubernetes.standing import STATES, Workload, standings
from triplane.kubernetes.triggers import RolloutTrigger

API = Workload("Deployment", "n", "api")


def item(kind: str, name: str, owner: str = "", **body: Any) -> dict[str, Any]:
    owners = [{"uid": owner}] if owner else []
    meta = {"name": name, "namespace": "n", "uid": name, "ownerReferences": owners, "generation": 2}
    return {"kind": kind, "metadata": meta | body.pop("metadata", {}), **body}


def deployment(replicas: int = 1, **status: Any) -> dict[str, Any]:
    return item("Deployment", "api", spec={"replicas": replicas}, status={"observedGeneration": 2, **status})


@pytest.mark.parametrize(
    ("kind", "spec", "status", "state"),
    [
        ("Deployment", {}, {"updatedReplicas": 1, "availableReplicas": 1, "replicas": 1}, "done"),
        ("Deployment", {}, {"updatedReplicas": 1, "availableReplicas": 1, "replicas": 2}, "going"),
        (
            "Deployment",
            {"replicas": 3},
            {"updatedReplicas": 3, "availableReplicas": 2, "replicas": 3},
            "going",
        ),
        ("Deployment", {"replicas": 0}, {}, "done"),
        ("Deployment", {}, {"observedGeneration": 1, "updatedReplicas": 1, "availableReplicas": 1}, "going"),
        (
            "StatefulSet",
            {"replicas": 2},
            {"readyReplicas": 2, "updatedReplicas": 1, "updateRevision": "b"},
            "going",
        ),
        (
            "StatefulSet",
            {"replicas": 2, "updateStrategy": {"rollingUpdate": {"partition": 1}}},
            {"readyReplicas": 2, "updatedReplicas": 1, "updateRevision": "b"},
            "done",
        ),
        (
            "StatefulSet",
            {"updateStrategy": {"type": "OnDelete"}},
            {"readyReplicas": 1, "updateRevision": "b"},
            "done",
        ),
        (
            "DaemonSet",
            {},
            {"desiredNumberScheduled": 2, "numberAvailable": 2, "updatedNumberScheduled": 1},
            "going",
        ),
        (
            "DaemonSet",
            {},
            {"desiredNumberScheduled": 2, "numberAvailable": 2, "updatedNumberScheduled": 2},
            "done",
        ),
        ("Job", {}, {"active": 1}, "going"),
        ("Job", {"suspend": True}, {}, "done"),
        ("Job", {}, {"conditions": [{"type": "Complete", "status": "True"}]}, "done"),
        (
            "Job",
            {},
            {"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]},
            "failed",
        ),
    ],
)
def test_states(kind: str, spec: dict[str, Any], status: dict[str, Any], state: str) -> None:
    found = item(kind, "x", spec=spec, status={"observedGeneration": 2, **status})
    assert STATES[kind](found)[0] == state


def test_a_missing_workload_is_not_done() -> None:
    (found,) = standings([], [API])
    assert (found.state, found.progress) == ("going", "is not there")
    assert not Look((found,)).done


def test_only_the_newest_pods_count() -> None:
    revision = "deployment.kubernetes.io/revision"
    state = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}}
    sets = [
        item("ReplicaSet", name, "api", metadata={"annotations": {revision: number}})
        for name, number in (("old", "1"), ("new", "2"))
    ]
    status = {"containerStatuses": [{"name": "c", "image": "i", "state": state}]}
    pods = [item("Pod", f"p-{name}", name, spec={}, status=status) for name in ("old", "new", "new")]
    current = deployment(2)
    current["metadata"]["annotations"] = {revision: "2"}
    (found,) = standings([current, *sets, *pods], [API])
    assert [str(reason) for reason in found.reasons] == [
        "image pull: pod p-new, container c (and 1 more): ImagePullBackOff: Back-off"
    ]


def test_a_name_that_no_registry_can_hold_is_hopeless() -> None:
    state = {"waiting": {"reason": "InvalidImageName", "message": "couldn't parse image name"}}
    status = {"containerStatuses": [{"name": "c", "image": "A B", "state": state}]}
    sets = item("StatefulSet", "db", spec={}, status={"observedGeneration": 2})
    pod = item("Pod", "db-0", "db", spec={}, status=status)
    (found,) = standings([sets, pod], [Workload("StatefulSet", "n", "db")])
    assert found.state == "failed"


def test_a_mount_that_fails_and_memory_that_ends() -> None:
    killed = {"exitCode": 137, "reason": "OOMKilled"}
    crashed = {
        **{"name": "c", "image": "i", "restartCount": 5, "lastState": {"terminated": killed}},
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
    }
    daemon = item("DaemonSet", "d", spec={}, status={"observedGeneration": 2, "desiredNumberScheduled": 2})
    event = {"type": "Warning", "reason": "FailedMount", "message": "secret not found"}
    objects = [
        daemon,
        item("Pod", "a", "d", spec={}, status={"containerStatuses": [crashed]}),
        item("Pod", "b", "d", spec={}, status={"phase": "Pending"}),
        item("Event", "e", **event, involvedObject={"uid": "b"}),
    ]
    (found,) = standings(objects, [Workload("DaemonSet", "n", "d")])
    assert [str(reason) for reason in found.reasons] == [
        "crash loop: pod a, container c: it ended with exit code 137 (OOMKilled), 5 restarts",
        "volume: pod b: secret not found",
    ]
    assert found.reasons[0].log == Log("n", "a", "c", True)


def test_what_crashed_and_runs_again_tells_both() -> None:
    container = {
        **{"name": "c", "image": "i", "ready": False, "restartCount": 2, "state": {"running": {}}},
        "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}},
    }
    db = item("StatefulSet", "db", spec={}, status={"observedGeneration": 2})
    pod = item("Pod", "db-0", "db", spec={}, status={"containerStatuses": [container]})
    look = Look(standings([db, pod], [Workload("StatefulSet", "n", "db")]))
    assert look.explained
    assert [(reason.cause, reason.log) for reason in look.standings[0].reasons] == [
        ("probe", None),
        ("crash loop", Log("n", "db-0", "c", True)),
    ]


def test_arguments() -> None:
    assert get_args("n")[2:] == ("--namespace", "n", "--output", "json", "--request-timeout", "30s")
    assert log_args(Log("n", "p", "c", True)) == (
        *("logs", "p", "--namespace", "n", "--container", "c", "--previous", "--tail=10"),
        *("--request-timeout", "30s"),
    )


def test_what_there_is_to_wait_for() -> None:
    objects = [{"kind": "Service", "metadata": {"name": "s"}}, {"kind": "Job", "metadata": {"name": "j"}}]
    assert workloads(objects, "n") == (Workload("Job", "n", "j"),)


def test_the_trigger_survives_its_serialization() -> None:
    trigger = RolloutTrigger(
        workloads=[("Job", "n", "j")], access={"cloud": "aws", "conn_id": "c"}, until=1.0
    )
    path, arguments = trigger.serialize()
    assert path.endswith("triggers.RolloutTrigger")
    assert RolloutTrigger(**arguments).serialize() == trigger.serialize()
