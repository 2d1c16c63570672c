from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.cloud import run_v2
from tests.unit.serverless.google_lab import Google, desired, image, run, start, through_json

from triplane.core.errors import InputError, StaleError, TransientError, TriplaneError
from triplane.sandbox.gcp.faults import Fault
from triplane.serverless.deployment import Attempt, Deployment
from triplane.serverless.google.cloud_run import CloudRun
from triplane.serverless.target import Observed, Ready, Smoke, Waiting, difference
from triplane.serverless.traffic import Traffic

OPTIONS: dict[str, Any] = {
    "port": 8080,
    "memory": "256Mi",
    "timeout": 30,
    "max_instances": 3,
    "ingress": "all",
}
CANARY = Traffic(strategy="canary", steps=(10,), wait=0)
BAD = image("missing")
FULL = "projects/triplane-sandbox/locations/europe-west1/services/webhook"


@pytest.fixture
def google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Google:
    return Google(tmp_path, monkeypatch)


def observed(google: Google) -> Observed:
    found = google.cloud_run().observe("webhook")
    assert found is not None
    return found


def deploy(google: Google, tag: str, **changes: Any) -> Observed:
    attempt = run(google.cloud_run, desired(image(tag), options=OPTIONS, **changes))
    assert not attempt.failed
    return observed(google)


def test_deploy_then_nothing_differs(google: Google) -> None:
    wanted = desired(image("one"), options=OPTIONS, environment={"A": "x", "B": "secretmanager://token/3"})
    attempt = run(google.cloud_run, wanted)
    found = observed(google)
    assert (attempt.failed, attempt.serves) == ("", found.version)
    assert difference(wanted, found) == ()
    service = google.core.state.resources[FULL]
    assert service["labels"]["triplane-commit"] == "c0ffee"
    assert wanted.artifact.endswith(service["labels"]["triplane-digest"] + wanted.artifact[-1])
    assert [target["revision"] for target in service["traffic"]] == [found.version]


def test_an_update_shifts_and_takes_its_tag_away(google: Google) -> None:
    first = deploy(google, "one")
    second = deploy(google, "two")
    assert second.version != first.version
    assert second.artifact == image("two")
    assert not any(target.get("tag") for target in google.core.state.resources[FULL]["traffic"])


def test_canary_shares_the_traffic_and_asks_the_new_version(google: Google) -> None:
    first = deploy(google, "one")
    seen: list[str] = []

    class Watching(CloudRun):
        def shift(self, *args: Any) -> Any:
            progress = super().shift(*args)
            if isinstance(progress, Ready):
                seen.append(progress.details["traffic"])
            return progress

        def invoke(self, name: str, version: str, smoke: Smoke) -> Any:
            answer = super().invoke(name, version, smoke)
            seen.append(f"asked {version in answer.body}")
            return answer

    def connect() -> CloudRun:
        target = google.cloud_run()
        target.__class__ = Watching
        return target

    smoke = Smoke(path="/health", contains="webhook-00002")
    attempt = run(connect, desired(image("two"), options=OPTIONS), traffic=CANARY, smoke=smoke)
    new = attempt.serves
    assert seen == ["asked True", f"{new} 10 %, {first.version} 90 %", "asked True", f"{new} 100 %"]


@pytest.mark.parametrize("fail", ["image", "container", "smoke"])
def test_an_update_that_fails_is_taken_back(google: Google, fail: str) -> None:
    first = deploy(google, "one", environment={"A": "x"})
    wanted = desired(BAD if fail == "image" else image("two"), options={**OPTIONS, "ingress": "internal"})
    if fail == "container":
        fault = Fault(path="services/webhook$", method="PATCH", message="It crashes.", operation=True)
        google.core.faults.add(fault)
    if fail == "smoke":
        wanted = replace(wanted, options=OPTIONS)
    attempt = run(
        google.cloud_run, wanted, smoke=Smoke(contains="webhook-00001") if fail == "smoke" else None
    )
    words = {"image": "not found", "container": "It crashes", "smoke": "smoke test"}
    assert words[fail] in attempt.failed
    assert attempt.serves == first.version
    assert observed(google) == first
    assert deploy(google, "two").artifact == image("two")


@pytest.mark.parametrize("fail", ["image", "smoke"])
def test_a_first_deployment_that_fails_leaves_nothing(google: Google, fail: str) -> None:
    wanted = desired(BAD if fail == "image" else image("one"), options=OPTIONS)
    attempt = run(
        google.cloud_run, wanted, smoke=Smoke(contains="webhook-00099") if fail == "smoke" else None
    )
    assert attempt.failed
    assert attempt.serves == ""
    assert google.cloud_run().observe("webhook") is None
    assert google.names("services") == []


def test_a_split_is_put_back_as_it_was(google: Google) -> None:
    first = deploy(google, "one").version
    second = deploy(google, "two").version
    targets = [{"type_": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": name, "percent": share}
               for name, share in ((first, 70), (second, 30))]  # fmt: skip
    update(google, traffic=targets)
    before = observed(google)
    assert before.version == f"{first}=70,{second}=30"
    assert run(google.cloud_run, desired(BAD, options=OPTIONS)).failed
    assert observed(google) == before
    third = run(google.cloud_run, desired(image("three"), options=OPTIONS), traffic=CANARY)
    assert observed(google).version == third.serves


def test_a_split_is_shared_with_whom_has_most_of_it(google: Google) -> None:
    first, second = deploy(google, "one").version, deploy(google, "two").version
    targets = [{"type_": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": name, "percent": share}
               for name, share in ((first, 70), (second, 30))]  # fmt: skip
    update(google, traffic=targets)
    wanted = replace(desired(image("three"), options=OPTIONS), attempt="0123456789abcdef")
    progress, before = google.cloud_run().prepare(wanted, observed(google), print), observed(google)
    while not isinstance(progress, Ready):
        progress = google.cloud_run().prepare(wanted, before, print)
    most = replace(before, version=first)

    def shift() -> Any:
        return google.cloud_run().shift("webhook", progress.version, 10, most, print)

    assert isinstance(shift(), Waiting)
    assert isinstance(shift(), Ready)
    assert observed(google).version == f"{first}=90,{progress.version}=10"


def update(google: Google, **fields: Any) -> None:
    """Somebody else changes the service with Google's client."""
    client = google.client(run_v2.ServicesClient)
    service = run_v2.Service(name=FULL, **fields)
    client.update_service(request={"service": service, "update_mask": {"paths": list(fields)}})
    google.core.state.operations.settle()


def test_changes_by_hand_are_seen(google: Google) -> None:
    wanted = desired(image("one"), options={**OPTIONS, "invokers": ["allUsers"]})
    run(google.cloud_run, wanted)
    update(google, ingress="INGRESS_TRAFFIC_INTERNAL_ONLY")
    client = google.client(run_v2.ServicesClient)
    policy = client.get_iam_policy(request={"resource": FULL})
    policy.bindings[0].members.append("user:eve@example.com")
    client.set_iam_policy(request={"resource": FULL, "policy": policy})
    assert difference(wanted, observed(google)) == (
        "ingress: internal -> all",
        "invokers: ['allUsers', 'user:eve@example.com'] -> ['allUsers']",
    )


def test_what_belongs_to_the_service_is_put_back(google: Google) -> None:
    other = {"role": "roles/run.viewer", "members": ["user:a@example.com"]}
    run(google.cloud_run, desired(image("one"), options={"invokers": ["serviceAccount:a@b"]}))
    google.core.state.policies[FULL]["bindings"].append(other)
    before = observed(google)
    wanted = desired(image("two"), options={"invokers": ["allUsers"], "ingress": "internal"})
    assert run(google.cloud_run, wanted, smoke=Smoke(contains="never")).failed
    assert observed(google) == before
    assert before.options["invokers"] == ["serviceAccount:a@b"]
    assert other in google.core.state.policies[FULL]["bindings"]


def test_somebody_else_deploys_meanwhile(google: Google) -> None:
    first = deploy(google, "one")
    attempt = start(first)
    deploy(google, "two")
    wanted = replace(desired(image("three"), options=OPTIONS), attempt=attempt.id)
    with pytest.raises(StaleError, match="plan again"):
        google.cloud_run().prepare(wanted, first, print)


def test_what_somebody_else_serves_is_not_taken_back(google: Google) -> None:
    first = deploy(google, "one")
    wanted = replace(desired(image("two"), options=OPTIONS), attempt="0123456789abcdef")
    progress: Any = None
    while not isinstance(progress, Ready):
        progress = google.cloud_run().prepare(wanted, first, print)
    ours = progress.version
    template = {"containers": [{"image": image("three")}]}
    update(
        google,
        template=template,
        traffic=[{"type_": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}],
    )
    theirs = observed(google).version
    with pytest.raises(StaleError, match="somebody else"):
        google.cloud_run().shift("webhook", ours, 100, first, print)
    progress = google.cloud_run().restore("webhook", first, print)
    assert progress == Ready(version=theirs)


def test_a_service_that_somebody_else_made_is_not_removed(google: Google) -> None:
    deploy(google, "one")
    update(google, template={"containers": [{"image": image("two")}]}, annotations={})
    progress = google.cloud_run().restore("webhook", None, print)
    assert isinstance(progress, Ready)
    assert progress.version == observed(google).version


def test_the_same_name_again_while_it_is_being_deleted(google: Google) -> None:
    deploy(google, "one")
    google.core.state.operations.delay = 1
    assert isinstance(google.cloud_run().delete("webhook"), Waiting)
    assert google.cloud_run().observe("webhook") is None
    assert not run_waiting(google, desired(image("two"), options=OPTIONS)).failed
    assert observed(google).artifact == image("two")


def run_waiting(google: Google, wanted: Any) -> Attempt:
    """As ``run``, but time passes while it waits."""
    import time

    attempt = start(google.cloud_run().observe(wanted.name))
    wanted = replace(wanted, attempt=attempt.id)
    while not attempt.ended:
        deployment = Deployment(target=google.cloud_run(), desired=wanted, clock=lambda: 0.0)
        attempt, waiting = deployment.go_on(attempt)
        time.sleep(0.02 if waiting else 0)
    return attempt


def test_delete_until_it_is_gone(google: Google) -> None:
    deploy(google, "one")
    steps = [google.cloud_run().delete("webhook") for _ in range(3)]
    assert isinstance(steps[0], Waiting)
    assert steps[-1] == Ready(version="")
    assert google.names("services") == []


Scenario = Callable[[Google], tuple[Any, dict[str, Any]]]


def scenario_new(google: Google) -> tuple[Any, dict[str, Any]]:
    return desired(image("one"), options={**OPTIONS, "invokers": ["allUsers"]}), {}


def scenario_canary(google: Google) -> tuple[Any, dict[str, Any]]:
    deploy(google, "one")
    return desired(image("two"), options={**OPTIONS, "invokers": ["allUsers"]}), {"traffic": CANARY}


def scenario_bad(google: Google) -> tuple[Any, dict[str, Any]]:
    deploy(google, "one")
    return desired(BAD, options=OPTIONS), {}


def scenario_bad_first(google: Google) -> tuple[Any, dict[str, Any]]:
    return desired(BAD, options=OPTIONS), {}


SCENARIOS = [scenario_new, scenario_canary, scenario_bad, scenario_bad_first]


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("delay", [0.0, 0.01])
def test_killed_after_any_request(google: Google, scenario: Scenario, delay: float) -> None:
    """The answer of the n-th request never arrives, for every n; the step is then made again by another process."""
    wanted, changes = scenario(google)
    google.core.state.operations.delay = delay
    attempt = start(google.cloud_run().observe("webhook"))
    wanted, before, allowed = replace(wanted, attempt=attempt.id), len(google.names("revisions")), 0
    real = google.answer
    for _ in range(500):
        if attempt.ended:
            break
        left = [allowed]

        def dying(request: Any, left: list[int] = left) -> Any:
            answer = real(request)
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return answer

        google.answer = dying  # type: ignore[method-assign]
        try:
            deployment = Deployment(target=google.cloud_run(), desired=wanted, clock=lambda: 0.0, **changes)
            attempt, _ = deployment.go_on(through_json(attempt))
            allowed = 0
        except KeyboardInterrupt:
            allowed += 1
        google.answer = real  # type: ignore[method-assign]
    assert attempt.ended
    failed = scenario in (scenario_bad, scenario_bad_first)
    assert bool(attempt.failed) == failed
    made = 0 if scenario is scenario_bad_first else 1
    assert len(google.names("revisions")) == before + made
    assert google.writes().count("POST services") == (0 if before else 1) + (1 if before else 0)


FAULTS = [
    (429, "Quota exceeded", False),
    (429, "Quota exceeded", True),
    (503, "unavailable", False),
    (503, "unavailable", True),
    (401, "expired", False),
    (409, "etag mismatch", False),
    (409, "etag mismatch", True),
]


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize(("status", "message", "done"), FAULTS)
def test_a_fault_at_any_request(
    google: Google, scenario: Scenario, status: int, message: str, done: bool
) -> None:
    """Every request fails once (before or after it did its work), the step is made again, and nothing twice."""
    wanted, changes = scenario(google)
    attempt = start(google.cloud_run().observe("webhook"))
    wanted, before = replace(wanted, attempt=attempt.id), len(google.names("revisions"))
    after, errors = 0, 0
    for _ in range(500):
        if attempt.ended:
            break
        google.core.faults.clear()
        fault = Fault(path="googleapis", status=status, message=message, done=done, after=after)
        fault.times = 3 if status == 401 else 1  # the client itself asks again with a new token
        google.core.faults.add(fault)
        try:
            deployment = Deployment(target=google.cloud_run(), desired=wanted, clock=lambda: 0.0, **changes)
            attempt, waiting = deployment.go_on(through_json(attempt))
            after = after + 1 if waiting and not google.core.faults._faults else 0
        except TransientError:
            after += 1
            errors += 1
    google.core.faults.clear()
    assert attempt.ended, attempt
    assert errors or status == 409
    assert bool(attempt.failed) == (scenario in (scenario_bad, scenario_bad_first)), attempt.failed
    assert len(google.names("revisions")) == before + (0 if scenario is scenario_bad_first else 1)


def test_a_forbidden_service_says_so(google: Google) -> None:
    google.core.faults.add(Fault(path="services", status=403, message="Permission 'run.services.get' denied"))
    with pytest.raises(TriplaneError, match=r"run\.services\.get"):
        google.cloud_run().observe("webhook")


def test_a_name_that_leaves_no_room_for_a_tag(google: Google) -> None:
    name = "w" * 45
    for tag in ("one", "two"):
        wanted = replace(desired(image(tag)), name=name)
        attempt = run(google.cloud_run, wanted)
        assert not attempt.failed
    wanted = replace(desired(image("three")), name=name)
    assert "too long a name" in run(google.cloud_run, wanted, smoke=Smoke()).failed


def test_a_deployment_has_a_name(google: Google) -> None:
    with pytest.raises(InputError, match="does not name a deployment"):
        google.cloud_run().prepare(desired(image("one")), None, print)
