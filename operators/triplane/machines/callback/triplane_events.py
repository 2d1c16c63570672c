"""Ansible's side: every play, task and result of a run as one line of JSON on standard output.

Loaded by ``ansible-playbook`` itself, which has removed the results of ``no_log`` tasks by then; nothing of Triplane
is imported here. :mod:`triplane.machines.events` reads the lines.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from ansible.plugins.callback import CallbackBase  # type: ignore[import-not-found,unused-ignore]
from ansible.release import __version__  # type: ignore[import-not-found,unused-ignore]

DOCUMENTATION = """
name: triplane_events
type: stdout
short_description: one line of JSON for each event
description: What Triplane reads.
"""
SAID = ("msg", "module_stderr", "stderr", "module_stdout", "stdout")
LONGEST = 4000


class CallbackModule(CallbackBase):
    """Says what happens."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "triplane_events"

    def v2_playbook_on_start(self, playbook: Any) -> None:
        _say("start", version=__version__)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        known = play.get_variable_manager().get_vars(play=play)
        _say(
            "play",
            name=play.get_name(),
            hosts=[str(host) for host in known.get("ansible_play_hosts_all") or []],
            batch=[str(host) for host in known.get("ansible_play_batch") or []],
        )

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        _say("task", name=task.get_name())

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        _say("task", name=task.get_name())

    def v2_runner_on_ok(self, result: Any) -> None:
        self._result(result, "changed" if result.is_changed() else "ok")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._result(result, "failed", ignored=bool(ignore_errors))

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._result(result, "unreachable", ignored=bool(result.task.ignore_unreachable))

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._result(result, "skipped")

    def v2_runner_retry(self, result: Any) -> None:
        left = result.result.get("retries", 0) - result.result.get("attempts", 0)
        _say("retry", host=result.host.get_name(), task=result.task.get_name(), left=left)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        _say("stats", hosts={host: stats.summarize(host) for host in sorted(stats.processed)})

    def _result(self, result: Any, state: str, *, ignored: bool = False) -> None:
        found = result.result
        items = [item for item in found.get("results") or [] if isinstance(item, dict)]
        _say(
            "result",
            host=result.host.get_name(),
            task=result.task.get_name(),
            action=str(result.task.resolved_action or result.task.action),
            where=str(result.task.get_path() or "").rsplit("/", 1)[-1],
            state=state,
            ignored=ignored,
            foreseen=not _silent(found, state, items),
            hidden="censored" in found or any("censored" in item for item in items),
            deletes=any(_deletes(each) for each in (found, *items)),
            message=_message([found, *items]) if state in ("failed", "unreachable") else "",
            diffs=[text for each in (found, *items) if (text := self._diff(each))],
        )

    def _diff(self, found: dict[str, Any]) -> str:
        if not found.get("diff") or not found.get("changed", True):
            return ""
        return str(self._get_diff(found["diff"])).strip("\n")


def _silent(found: dict[str, Any], state: str, items: list[dict[str, Any]]) -> bool:
    """Whether a module could not tell in check mode what it would do: it says that it was skipped, without a reason."""
    parts = [item for item in items if item.get("skipped")] or ([found] if state == "skipped" else [])
    return any("skip_reason" not in part and "skipped_reason" not in part for part in parts)


def _deletes(found: dict[str, Any]) -> bool:
    diffs = found.get("diff") or []
    after = [
        each.get("after")
        for each in (diffs if isinstance(diffs, list) else [diffs])
        if isinstance(each, dict)
    ]
    return any(isinstance(state, dict) and state.get("state") == "absent" for state in after)


def _message(results: list[dict[str, Any]]) -> str:
    said = [str(each[name]).strip() for each in results for name in SAID if each.get(name)]
    said = said or [str(each["censored"]) for each in results if "censored" in each]
    return "; ".join(dict.fromkeys(said))[-LONGEST:]


def _say(event: str, **body: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **body}, default=str) + "\n")
    sys.stdout.flush()
