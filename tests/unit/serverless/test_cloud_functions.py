from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.cloud import run_v2
from tests.unit.serverless.google_lab import (
    Google,
    code,
    desired,
    function,
    package,
    run,
    start,
    through_json,
)

from triplane.core.errors import InputError, StaleError, TransientError
from triplane.sandbox.gcp.faults import Fault
from triplane.serverless.deployment import Deployment
from triplane.serverless.google.cloud_functions import CloudFunctions
from triplane.serverless.target import Desired, Observed, Ready, Smoke, Waiting, difference
from triplane.serverless.traffic import Traffic

OPTIONS: dict[str, Any] = {"memory": "256Mi", "timeout": 30, "max_instances": 3, "ingress": "all"}
CANARY = Traffic(strategy="canary", steps=(10,), wait=0)
HELLO = Smoke(path="/hi", contains="hello")
PARENT = "projects/triplane-sandbox/locations/europe-west1"
FULL, SERVICE = f"{PARENT}/functions/webhook", f"{PARENT}/services/webhook"
NO_MAIN = package("x = 1\n", "other.py")
CRASHES = package("import nothing_like_this\n")
NO_ENTRY = package("def other(request):\n    return ''\n")


@pytest.fixture
def google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Google:
    return Google(tmp_path, monkeypatch)


def observed(google: Google) -> Observed:
    found = google.cloud_functions().observe("webhook")
    assert found is not None
    return found


def deploy(google: Google, answer: str, **changes: Any) -> Observed:
    attempt = run(google.cloud_functions, function(code(answer), options=OPTIONS, **changes))
    assert not attempt.failed
    return observed(google)


def test_deploy_then_nothing_differs_and_it_answers(google: Google) -> None:
    wanted = function(
        code("hello"),
        options={
            **OPTIONS,
            "cpu": "1",
            "concurrency": 5,
            "min_instances": 1,
            "service_account": "a@b.iam.gserviceaccount.com",
            "network": "default",
            "subnetwork": "sub",
            "egress": "private-ranges-only",
            "invokers": ["allUsers"],
        },
        environment={"LEVEL": "info", "TOKEN": "secretmanager://token/3"},
    )
    attempt = run(google.cloud_functions, wanted, smoke=Smoke(contains="helloinfo"))
    found = observed(google)
    assert (attempt.failed, attempt.serves) == ("", found.version)
    assert difference(wanted, found) == ()
    secrets = google.core.state.resources[FULL]["serviceConfig"]["secretEnvironmentVariables"]
    assert secrets == [{"key": "TOKEN", "projectId": "triplane-sandbox", "secret": "token", "version": "3"}]


def test_canary_asks_the_new_code_before_it_serves(google: Google) -> None:
    first = deploy(google, "hello one")
    seen: list[str] = []

    class Watching(CloudFunctions):
        def shift(self, *args: Any) -> Any:
            progress = super().shift(*args)
            if isinstance(progress, Ready):
                seen.append(progress.details["traffic"])
            return progress

        def invoke(self, name: str, version: str, smoke: Smoke) -> Any:
            answer = super().invoke(name, version, smoke)
            seen.append(answer.body)
            return answer

    def connect() -> CloudFunctions:
        target = google.cloud_functions()
        target.__class__ = Watching
        return target

    attempt = run(connect, function(code("hello two"), options=OPTIONS), traffic=CANARY, smoke=HELLO)
    new = attempt.serves
    assert seen == ["hello two", f"{new} 10 %, {first.version} 90 %", "hello two", f"{new} 100 %"]
    assert not any(target.get("tag") for target in google.core.state.resources[SERVICE]["traffic"])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (NO_MAIN, "missing main.py and GOOGLE_FUNCTION_SOURCE not specified"),
        (b"no zip", "not a valid zip file"),
        (CRASHES, "No module named 'nothing_like_this'"),
        (NO_ENTRY, "expected to contain a function named 'hello'"),
        (code("good bye"), "does not hold 'hello'"),
    ],
)
def test_an_update_that_fails_is_taken_back_and_the_next_one_works(
    google: Google, data: bytes, message: str
) -> None:
    first = deploy(google, "hello one", environment={"LEVEL": "info"})
    wanted = function(data, options={**OPTIONS, "memory": "512Mi"}, environment={"LEVEL": "debug"})
    attempt = run(google.cloud_functions, wanted, smoke=HELLO)
    assert message in attempt.failed
    assert attempt.serves == first.version
    after = observed(google)
    assert (after.version, after.artifact, after.config) == (first.version, first.artifact, first.config)
    assert after.environment == first.environment
    assert after.options["memory"] == "256Mi"
    second = deploy(google, "hello two")
    assert second.artifact == function(code("hello two")).artifact


@pytest.mark.parametrize("data", [NO_MAIN, CRASHES, code("good bye")])
def test_a_first_deployment_that_fails_leaves_nothing(google: Google, data: bytes) -> None:
    attempt = run(google.cloud_functions, function(data, options=OPTIONS), smoke=HELLO)
    assert attempt.failed
    assert attempt.serves == ""
    assert google.cloud_functions().observe("webhook") is None
    assert google.names("functions") + google.names("services") == []
    deploy(google, "hello")


def test_what_the_code_wrote_is_told(google: Google) -> None:
    deploy(google, "hello one")
    lines: list[str] = []
    run(google.cloud_functions, function(CRASHES, options=OPTIONS), log=lines.append)
    assert "  | ModuleNotFoundError: No module named 'nothing_like_this'" in lines
    google.core.faults.add(Fault(path="entries:list", status=403, message="denied"))
    assert google.cloud_functions().tail("webhook", "") == ()


def test_one_that_somebody_left_failed_can_be_deployed(google: Google) -> None:
    wanted = replace(function(NO_MAIN, options=OPTIONS), attempt="0123456789abcdef")
    target = google.cloud_functions()
    assert isinstance(target.prepare(wanted, None, print), Waiting)
    found = observed(google)
    assert found == Observed(version="")
    assert deploy(google, "hello").version


def test_changes_by_hand_are_seen(google: Google) -> None:
    wanted = function(code("hello"), options={**OPTIONS, "invokers": ["allUsers"]}, environment={"A": "x"})
    run(google.cloud_functions, wanted)
    client = google.client(run_v2.ServicesClient)
    service = client.get_service(name=SERVICE)
    service.ingress = run_v2.IngressTraffic.INGRESS_TRAFFIC_INTERNAL_ONLY
    client.update_service(service=service)
    client.set_iam_policy(request={"resource": SERVICE, "policy": {}})
    google.core.state.operations.settle()
    assert difference(wanted, observed(google)) == (
        "ingress: internal -> all",
        "invokers: [] -> ['allUsers']",
    )
    session = google.session()
    url = f"https://cloudfunctions.googleapis.com/v2/{FULL}?updateMask=serviceConfig.availableMemory"
    session.patch(url, json={"serviceConfig": {"availableMemory": "1Gi"}}).raise_for_status()
    assert observed(google).options["memory"] == "256Mi"
    service = client.get_service(name=SERVICE)
    latest = {"type_": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}
    change = {"name": SERVICE, "traffic": [latest]}
    client.update_service(request={"service": change, "update_mask": {"paths": ["traffic"]}})
    google.core.state.operations.settle()
    assert "memory: 1Gi -> 256Mi" in difference(wanted, observed(google))


def test_traffic_that_follows_the_latest_is_pinned_before_an_update(google: Google) -> None:
    """Google lets a new revision serve at once where the traffic is "the latest"."""
    first = deploy(google, "hello one")
    client = google.client(run_v2.ServicesClient)
    latest = {"type_": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}
    change = {"name": SERVICE, "traffic": [latest]}
    client.update_service(request={"service": change, "update_mask": {"paths": ["traffic"]}})
    google.core.state.operations.settle()
    attempt = run(google.cloud_functions, function(code("good bye"), options=OPTIONS), smoke=HELLO)
    assert "smoke test" in attempt.failed
    assert observed(google).version == first.version


def test_what_belongs_to_the_service_is_put_back(google: Google) -> None:
    options = {**OPTIONS, "invokers": ["serviceAccount:a@b"]}
    assert not run(google.cloud_functions, function(code("hello"), options=options)).failed
    before = observed(google)
    wanted = function(code("bye"), options={**OPTIONS, "ingress": "internal", "invokers": ["allUsers"]})
    assert run(google.cloud_functions, wanted, smoke=HELLO).failed
    now = observed(google)
    assert (now.version, now.options["ingress"]) == (before.version, "all")
    assert now.options["invokers"] == ["serviceAccount:a@b"]


def test_somebody_else_deploys_meanwhile(google: Google) -> None:
    first = deploy(google, "hello one")
    deploy(google, "hello two")
    wanted = replace(function(code("hello three"), options=OPTIONS), attempt="0123456789abcdef")
    with pytest.raises(StaleError, match="plan again"):
        google.cloud_functions().prepare(wanted, first, print)
    with pytest.raises(StaleError, match="plan again"):
        google.cloud_functions().prepare(wanted, None, print)


def test_another_operation_is_waited_for(google: Google) -> None:
    first = deploy(google, "hello one")
    google.core.state.operations.delay = 5
    url = f"https://cloudfunctions.googleapis.com/v2/{FULL}?updateMask=labels"
    google.session().patch(url, json={"labels": {"a": "b"}}).raise_for_status()
    wanted = replace(function(code("hello two"), options=OPTIONS), attempt="0123456789abcdef")
    progress = google.cloud_functions().prepare(wanted, first, print)
    assert progress == Waiting(why="another operation is at work on the function", seconds=10.0)
    assert isinstance(google.cloud_functions().delete("webhook"), Waiting)
    assert google.core.state.resources[FULL]["state"] == "DEPLOYING"


def test_delete_until_it_is_gone(google: Google) -> None:
    deploy(google, "hello")
    steps = [google.cloud_functions().delete("webhook") for _ in range(3)]
    assert isinstance(steps[0], Waiting)
    assert steps[-1] == Ready(version="")
    assert google.names("services") == []


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            desired("sha256:" + "a" * 64, b"zip", options={"runtime": "python312"}),
            "needs the option entry_point",
        ),
        (function(b"zip", options={"ingress": "nobody"}), "ingress 'nobody' is not one of"),
        (function(b"zip", options={"egress": "all-traffic"}), "`egress` needs"),
        (function(b"zip", options={"runtime": "cobol"}), "Runtime 'cobol' is not supported"),
        (function(b"zip", options={"concurrency": 80}), "needs at least 1 CPU"),
    ],
)
def test_refused(google: Google, wanted: Desired, message: str) -> None:
    with pytest.raises(InputError, match=message):
        google.cloud_functions().prepare(replace(wanted, attempt="0123456789abcdef"), None, print)


Scenario = Callable[[Google], tuple[Desired, dict[str, Any]]]


def scenario_new(google: Google) -> tuple[Desired, dict[str, Any]]:
    return function(code("hello"), options={**OPTIONS, "invokers": ["allUsers"]}), {}


def scenario_canary(google: Google) -> tuple[Desired, dict[str, Any]]:
    deploy(google, "hello one")
    return function(code("hello"), options={**OPTIONS, "invokers": ["allUsers"]}), {"traffic": CANARY}


def scenario_bad(google: Google) -> tuple[Desired, dict[str, Any]]:
    deploy(google, "hello one")
    return function(CRASHES, options=OPTIONS), {}


def scenario_bad_first(google: Google) -> tuple[Desired, dict[str, Any]]:
    return function(NO_MAIN, options=OPTIONS), {}


SCENARIOS = [scenario_new, scenario_canary, scenario_bad, scenario_bad_first]


def starts(google: Google) -> int:
    """How many operations have begun to make or change the function."""
    collection = f"{PARENT}/operations/"
    return sum(
        each.verb in ("create", "update") and "/functions/" in each.target
        for name, each in google.core.state.operations._all.items()
        if name.startswith(collection)
    )


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("delay", [0.0, 0.02])
def test_killed_after_any_request(google: Google, scenario: Scenario, delay: float) -> None:
    """The answer of the n-th request never arrives, for every n; the step is then made again by another process."""
    wanted, changes = scenario(google)
    google.core.state.operations.delay = delay
    attempt = start(google.cloud_functions().observe("webhook"))
    wanted, before, allowed = replace(wanted, attempt=attempt.id), starts(google), 0
    real = google.answer
    for _ in range(1000):
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
            deployment = Deployment(
                target=google.cloud_functions(), desired=wanted, clock=lambda: 0.0, **changes
            )
            attempt, _ = deployment.go_on(through_json(attempt))
            allowed = 0
        except KeyboardInterrupt:
            allowed += 1
        google.answer = real  # type: ignore[method-assign]
    assert attempt.ended
    assert bool(attempt.failed) == (scenario in (scenario_bad, scenario_bad_first))
    assert starts(google) == before + 1


FAULTS = [
    (429, "Quota exceeded", False),
    (429, "Quota exceeded", True),
    (503, "unavailable", False),
    (503, "unavailable", True),
    (401, "expired", False),
    (409, "unable to queue", False),
    (409, "unable to queue", True),
]


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize(("status", "message", "done"), FAULTS)
def test_a_fault_at_any_request(
    google: Google, scenario: Scenario, status: int, message: str, done: bool
) -> None:
    """Every request fails once (before or after it did its work), the step is made again, and nothing twice."""
    wanted, changes = scenario(google)
    attempt = start(google.cloud_functions().observe("webhook"))
    wanted, before = replace(wanted, attempt=attempt.id), starts(google)
    after, errors = 0, 0
    for _ in range(500):
        if attempt.ended:
            break
        google.core.faults.clear()
        fault = Fault(path="googleapis", status=status, message=message, done=done, after=after)
        fault.times = 3 if status == 401 else 1  # the client itself asks again with a new token
        google.core.faults.add(fault)
        try:
            deployment = Deployment(
                target=google.cloud_functions(), desired=wanted, clock=lambda: 0.0, **changes
            )
            attempt, waiting = deployment.go_on(through_json(attempt))
            after = after + 1 if waiting and not google.core.faults._faults else 0
        except TransientError:
            after += 1
            errors += 1
    google.core.faults.clear()
    assert attempt.ended, attempt
    assert errors or status == 409
    assert bool(attempt.failed) == (scenario in (scenario_bad, scenario_bad_first)), attempt.failed
    assert starts(google) == before + 1


def test_a_build_that_google_fails(google: Google) -> None:
    first = deploy(google, "hello one")
    fault = Fault(path="functions/webhook$", method="PATCH", message="Build quota exceeded", operation=True)
    google.core.faults.add(fault)
    attempt = run(google.cloud_functions, function(code("hello two"), options=OPTIONS))
    assert "Build quota exceeded" in attempt.failed
    assert attempt.serves == first.version
