from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.serverless.cloud import Cloud, Killed, World

from triplane.core.errors import InputError, StaleError, TransientError
from triplane.serverless.deployment import Attempt, Deployment
from triplane.serverless.target import DeployFailed, Desired, Observed, Smoke
from triplane.serverless.traffic import Traffic

OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64
PREVIOUS = Observed(version="1", artifact=OLD, config="c1")
CANARY = Traffic(strategy="canary", steps=(10, 50), wait=60)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def serving() -> World:
    return World(versions={"1": (OLD, "c1", "before")}, traffic={"1": 100})


def made(cloud: Cloud, clock: Clock, **more: Any) -> Deployment:
    wanted = Desired(name="w", artifact=NEW, config="c2", package=b"zip", attempt="now")
    return Deployment(target=cloud, desired=wanted, clock=clock, **more)


def attempt(previous: Observed | None = PREVIOUS) -> Attempt:
    return Attempt(id="now", previous=previous, since=1000.0)


def to_the_end(what: Deployment, found: Attempt, clock: Clock) -> Attempt:
    """As a chain of processes, each of which knows only what was kept."""
    for _ in range(100):
        if found.ended:
            return found
        found, waiting = what.go_on(Attempt.from_json(json.loads(json.dumps(found.to_json()))))
        clock.now += waiting.seconds if waiting else 0.1
    raise AssertionError(f"no end: {found}")


@pytest.mark.parametrize(
    ("traffic", "history"),
    [
        (Traffic(), [{"2": 100}]),
        (CANARY, [{"1": 90, "2": 10}, {"1": 50, "2": 50}, {"2": 100}]),
        (
            Traffic(strategy="linear", step=40, wait=1),
            [{"1": 60, "2": 40}, {"1": 20, "2": 80}, {"2": 100}],
        ),
    ],
)
def test_the_traffic_goes_over(traffic: Traffic, history: list[dict[str, int]]) -> None:
    clock, cloud = Clock(), Cloud(serving(), slow=2)
    end = to_the_end(made(cloud, clock, traffic=traffic), attempt(), clock)
    assert (end.serves, end.failed) == ("2", "")
    assert cloud.world.history == history
    assert clock.now - 1000 >= traffic.wait * (len(history) - 1) if len(history) > 1 else True


def test_a_split_that_somebody_left_is_shared_with_its_larger_part() -> None:
    world = World(versions={"1": (OLD, "c1", ""), "2": (OLD, "c1", "")}, traffic={"1": 5, "2": 95})
    clock, cloud = Clock(), Cloud(world)
    split = Observed(version="1=5,2=95", artifact=OLD)
    end = to_the_end(made(cloud, clock, traffic=Traffic(strategy="canary")), attempt(split), clock)
    assert end.serves == "3"
    assert world.history == [{"2": 90, "3": 10}, {"3": 100}]


def test_the_first_version_gets_everything_at_once() -> None:
    clock, cloud = Clock(), Cloud()
    end = to_the_end(made(cloud, clock, traffic=CANARY), attempt(None), clock)
    assert end.serves == "1"
    assert cloud.world.history == [{"1": 100}]


def test_what_does_not_come_up_never_gets_traffic() -> None:
    clock, cloud, said = Clock(), Cloud(serving(), broken=frozenset({NEW}), slow=1), []
    end = to_the_end(made(cloud, clock, traffic=CANARY, log=said.append), attempt(), clock)
    assert (end.serves, end.failed) == ("1", "it does not come up")
    assert cloud.world.history == []
    assert "  | Traceback: boom" in said


def test_a_first_version_that_does_not_come_up_is_removed() -> None:
    clock, cloud = Clock(), Cloud(broken=frozenset({NEW}))
    end = to_the_end(made(cloud, clock), attempt(None), clock)
    assert (end.serves, end.failed) == ("", "it does not come up")
    assert not cloud.world.versions


def test_a_failing_smoke_test_before_traffic() -> None:
    clock, cloud, said = Clock(), Cloud(serving(), sick=frozenset({NEW})), []
    end = to_the_end(made(cloud, clock, smoke=Smoke(), log=said.append), attempt(), clock)
    assert end.failed == "the smoke test of 2 failed: it answered 500, not 200"
    assert end.serves == "1"
    assert cloud.world.history == []
    assert "  | a line of the log" in said


def test_what_cannot_be_asked_before_it_has_traffic_is_asked_then() -> None:
    clock, cloud = Clock(), Cloud(serving(), splits=False, apart=False, sick=frozenset({NEW}))
    end = to_the_end(made(cloud, clock, smoke=Smoke()), attempt(), clock)
    assert "smoke test" in end.failed
    assert cloud.world.history == [{"2": 100}, {"1": 100}]


def test_a_version_that_gets_sick_in_the_middle_of_a_canary() -> None:
    clock, cloud = Clock(), Cloud(serving())
    what = made(cloud, clock, traffic=CANARY, smoke=Smoke())
    found = attempt()
    while cloud.world.traffic != {"1": 50, "2": 50}:
        found, waiting = what.go_on(found)
        clock.now += waiting.seconds if waiting else 0
    cloud.sick = frozenset({NEW})
    end = to_the_end(what, found, clock)
    assert "smoke test" in end.failed
    assert cloud.world.history[-1] == {"1": 100}


def test_the_answer_is_not_shown() -> None:
    clock, cloud = Clock(), Cloud(serving())
    end = to_the_end(made(cloud, clock, smoke=Smoke(contains="secret")), attempt(), clock)
    assert end.failed.endswith("its answer of 4 characters does not hold 'secret'")


def test_what_is_never_ready_is_given_up() -> None:
    clock, cloud = Clock(), Cloud(serving(), slow=1000)
    what = made(cloud, clock, limit=30)
    found, _ = what.go_on(attempt())
    clock.now += 31
    found, _ = what.go_on(found)
    assert found.failed == "not ready after 30 s: bringing it up"
    cloud.slow = 0
    assert to_the_end(what, found, clock).serves == "1"


def test_what_cannot_be_put_back_is_loud() -> None:
    clock, cloud = Clock(), Cloud(serving(), slow=1000)
    what = made(cloud, clock, limit=30)
    given_up = what.give_up(attempt(), "a reason")
    clock.now += 31
    with pytest.raises(DeployFailed, match="a reason; and what served before could not be put back in 30 s"):
        what.go_on(given_up)
    cloud.slow = 0
    cloud.world.versions["1"] = (NEW, "c1", "before")
    with pytest.raises(DeployFailed, match=f"a reason; and 1 serves again, but with {NEW}"):
        what.go_on(given_up)
    cloud.world.versions["1"] = (OLD, "c1", "before")
    assert what.go_on(given_up)[0].serves == "1"


@pytest.mark.parametrize("slow", [0, 1])
@pytest.mark.parametrize("outcome", ["good", "broken", "sick", "first"])
@pytest.mark.parametrize("moment", range(1, 14))
def test_a_kill_at_any_call(moment: int, outcome: str, slow: int) -> None:
    clock, world = Clock(), World() if outcome == "first" else serving()
    bad = frozenset({NEW})
    cloud = Cloud(
        world,
        slow=slow,
        kill_at=moment,
        broken=bad if outcome == "broken" else frozenset(),
        sick=bad if outcome == "sick" else frozenset(),
    )
    found = attempt(None if outcome == "first" else PREVIOUS)
    what = made(cloud, clock, traffic=CANARY, smoke=Smoke())
    for _ in range(200):
        if found.ended:
            break
        try:
            found, waiting = what.go_on(found)
        except Killed:
            continue  # the next process knows what was kept before the step
        clock.now += waiting.seconds if waiting else 0
    assert found.ended
    last = {"good": {"2": 100}, "first": {"1": 100}}.get(outcome, {"1": 100})
    assert world.traffic == last
    assert sum(made[2] == "now" for made in world.versions.values()) == 1, "made once"
    if outcome in ("broken", "sick"):
        assert all("2" not in shares for shares in world.history), "what failed never got traffic"


@pytest.mark.parametrize("moment", range(1, 10))
def test_a_busy_cloud_at_any_call(moment: int) -> None:
    clock, cloud = Clock(), Cloud(serving(), busy=frozenset({moment}))
    what, found, refused = made(cloud, clock, traffic=CANARY, smoke=Smoke()), attempt(), 0
    while not found.ended:
        try:
            found, waiting = what.go_on(found)
        except TransientError:
            refused += 1
            continue
        clock.now += waiting.seconds if waiting else 0
    assert refused <= 1
    assert cloud.world.traffic == {"2": 100}
    assert len(cloud.world.versions) == 2


def test_what_somebody_else_deploys_meanwhile_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, cloud = Clock(), Cloud(serving())

    def stale(*_: Any) -> Any:
        raise StaleError("somebody else deploys")

    monkeypatch.setattr(cloud, "prepare", stale)
    with pytest.raises(StaleError):
        made(cloud, clock).go_on(attempt())
    assert cloud.world.history == []


def test_what_somebody_else_lets_serve_stays_after_a_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, cloud = Clock(), Cloud(serving())
    what, shift = made(cloud, clock, traffic=CANARY), cloud.shift

    def overtaken(name: str, version: str, percent: int, *rest: Any) -> Any:
        if percent == 10:
            return shift(name, version, percent, *rest)
        cloud.world.versions["9"] = ("sha256:theirs", "c9", "other")
        cloud.world.traffic = {"9": 100}
        raise StaleError("somebody else deploys")

    monkeypatch.setattr(cloud, "shift", overtaken)
    found = attempt()
    while not found.failed:
        found, waiting = what.go_on(found)
        clock.now += waiting.seconds if waiting else 0
    cloud.kill_at = cloud.world.calls + 1
    kept, there = json.dumps(found.to_json()), cloud.observe

    def killed(name: str) -> Any:
        answer = there(name)
        cloud._die()
        return answer

    monkeypatch.setattr(cloud, "observe", killed)
    with pytest.raises(Killed):
        what.go_on(found)
    anew = made(Cloud(cloud.world), clock, traffic=CANARY)
    ended = to_the_end(anew, Attempt.from_json(json.loads(kept)), clock)
    assert (ended.failed, ended.serves) == ("somebody else deploys", "9")
    assert cloud.world.traffic == {"9": 100}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": (0,)}, "from 1 to 99"),
        ({"steps": (10, 100)}, "100 comes by itself"),
        ({"steps": (50, 10)}, "must rise"),
        ({"step": 100}, "from 1 to 99"),
        ({"wait": -1}, "negative"),
    ],
)
def test_wrong_traffic(wrong: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Traffic(**wrong)


def test_traffic_as_json() -> None:
    assert Traffic.from_json(json.loads(json.dumps(CANARY.to_json()))) == CANARY
    assert Traffic.from_json(None).told() == "100 %"
    assert Traffic(strategy="linear", step=30).percents() == (30, 60, 90, 100)
