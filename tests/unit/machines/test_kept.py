from __future__ import annotations

from typing import Any

from triplane.machines.events import HostSummary, Recap
from triplane.machines.kept import Kept, begin

GOOD, BAD, AWAY = HostSummary(ok=2, changed=1), HostSummary(failed=1), HostSummary(unreachable=1)


def started(last: Kept | None = None, **more: Any) -> Kept:
    known = {"settings": "s1", "run": "r1", "arguments": {"playbook": "p"}, "hosts": ["a", "b", "c", "d"]}
    return begin(last, **{**known, **more})


def after(kept: Kept, **hosts: HostSummary) -> Kept:
    recap = Recap(hosts=hosts, targets=set(hosts), complete=True)
    return kept.after(recap, sorted(hosts))


def test_a_try_goes_on_with_what_is_left() -> None:
    first = after(started(), a=GOOD, b=BAD, c=AWAY)
    assert first.left == ("b", "c", "d"), "d was not begun"
    again = started(first)
    assert again.left == ("b", "c", "d")
    assert again.hosts["a"] == GOOD
    done = after(again, b=HostSummary(ok=1), c=GOOD, d=GOOD)
    assert (done.left, done.done) == ((), "s1")
    assert done.hosts["c"].changed == 1
    assert done.hosts["b"].state == "ok"


def test_another_run_begins_anew_unless_it_is_asked_to_go_on() -> None:
    first = after(started(), a=GOOD, b=BAD)
    assert started(first, run="r2").left == ("a", "b", "c", "d")
    assert started(first, run="r2", only_left=True).left == ("b", "c", "d")
    assert started(first, settings="s2").left == ("a", "b", "c", "d"), "something else is to be done"


def test_what_is_done_is_done_again_unless_once() -> None:
    done = after(started(hosts=["a"]), a=GOOD)
    assert started(done, hosts=["a"]).left == ("a",)
    assert started(done, hosts=["a"], once=True).left == ()
    assert started(done, hosts=["a", "new"], once=True).left == ("new",)


def test_a_run_that_was_cut_short_leaves_all() -> None:
    recap = Recap(hosts={}, targets={"a"}, complete=False)
    assert started().after(recap, ["a"]).left == ("a", "b", "c", "d")


def test_a_host_that_no_play_is_for_is_done() -> None:
    recap = Recap(hosts={"a": GOOD}, targets={"a"}, complete=True)
    assert started(hosts=["a", "b"]).after(recap, ["a", "b"]).left == ()


def test_what_ran_before_stays_known_until_all_is_done() -> None:
    done = after(started(hosts=["a"]), a=GOOD)
    failed = after(started(done, hosts=["a"], settings="s2"), a=BAD)
    assert (failed.done, failed.before) == ("s1", "s1")
    assert started(failed, hosts=["a"], settings="s3").before == "s1"


def test_json() -> None:
    kept = after(started(), a=GOOD, b=BAD)
    assert Kept.from_json(kept.to_json()) == kept
    assert Kept.from_json(None) is None
    assert Kept.from_json(b"null") is None
