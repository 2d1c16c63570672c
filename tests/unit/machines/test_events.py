from __future__ import annotations

import json
from typing import Any

from triplane.core.redact import Redactor
from triplane.machines.events import HIDDEN, Events, HostSummary, shown_diff

REDACT = Redactor(["hunter22"])


def line(event: str, **body: Any) -> str:
    return json.dumps({"event": event, **body})


def result(host: str, state: str, **more: Any) -> str:
    body = {"task": "config", "action": "ansible.builtin.copy", "where": "site.yml:5", "ignored": False}
    body |= {"foreseen": True, "deletes": False, "hidden": False, "message": "", "diffs": []}
    return line("result", host=host, state=state, **{**body, **more})


def read(*lines: str) -> tuple[list[str], Events]:
    events = Events(lambda: REDACT)
    return [text for each in lines for text in events.read(each)], events


def test_a_run_for_people() -> None:
    said, events = read(
        line("start", version="2.19.1"),
        line("play", name="configure", hosts=["a", "b"], batch=["a", "b"]),
        line("task", name="config"),
        result("a", "changed", diffs=["--- before\n+++ after\n@@ -1 +1 @@\n-x\n+password is hunter22"]),
        result("b", "failed", message="wrong: hunter22"),
        "some text with hunter22",
        line("stats", hosts={"a": {"ok": 1, "changed": 1}, "b": {"failures": 1}}),
    )
    assert said == [
        "PLAY configure: a, b",
        "TASK config",
        "  changed: a",
        *("      --- before", "      +++ after", "      @@ -1 +1 @@", "      -***", "      +password is ***"),
        "  failed: b: wrong: ***",
        "some text with ***",
        "a: 1 ok, 1 changed",
        "b: 1 failed",
    ]
    assert events.version == "2.19.1"
    recap = events.recap
    assert recap.complete
    assert recap.hosts["b"] == HostSummary(failed=1)
    assert (recap.good, recap.hosts_in("failed"), recap.targets) == (["a"], ["b"], {"a", "b"})
    assert recap.problem("b") == "config: wrong: ***"
    assert recap.problem("c") == "not reached"


def test_what_no_log_hides_and_what_is_ignored() -> None:
    said, events = read(
        result("a", "changed", hidden=True),
        result("b", "failed", ignored=True, message="well"),
        result("c", "skipped", foreseen=False),
    )
    assert said == [
        "  changed: a", f"      {HIDDEN}", "  failed: b (ignored): well", "  skipped: c (check mode cannot tell)",
    ]  # fmt: skip
    assert not events.recap.complete
    assert events.recap.problem("b") == "not reached"


def test_a_cut_line_is_text() -> None:
    assert read('{"event": "resu', "")[0] == ['{"event": "resu']


def test_states_of_a_host() -> None:
    assert HostSummary(ok=3).state == "ok"
    assert HostSummary(ok=3, changed=1).state == "changed"
    assert HostSummary(ok=3, failed=1, rescued=1).state == "failed"
    assert HostSummary(ok=3, unreachable=1).state == "unreachable"


def test_the_other_side_of_a_secret_is_hidden() -> None:
    old = "@@ -1,3 +1,3 @@\n level=info\n-phrase older-one\n+phrase hunter22\n-level=a\n keep\n-plain\n+text"
    assert shown_diff(old, REDACT) == [
        *("@@ -1,3 +1,3 @@", " level=info", "-***", "+phrase ***", "-***", " keep", "-plain", "+text"),
    ]
    assert shown_diff("+token=hunter22\n+level=info", REDACT) == ["+token=***", "+level=info"]
    assert shown_diff("-token is hunter22\n+token is newer", REDACT) == ["-token is ***", "+***"]


def test_long_diffs_are_cut_and_paths_of_templates_are_not_random() -> None:
    found = shown_diff("\n".join(f"+{n}" for n in range(100)), REDACT)
    assert (len(found), found[-1]) == (61, "... 40 lines more")
    text = "+++ after: /tmp/x/tmp/ansible-local-12ab/tmpq8/app.conf.j2"
    assert shown_diff(text, REDACT) == ["+++ after: app.conf.j2"]
