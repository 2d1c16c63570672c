"""The commands that talk to Airflow: plan, deploy, rollback, destroy, drift, status, logs, approve, reject.

Here are their options; what they do is imported when one of them runs.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

from triplane.core.words import CLOUDS

ACTIONS = {
    "plan": "show what a deployment would change",
    "deploy": "plan, ask, apply",
    "rollback": "go back to the last good version",
    "destroy": "remove everything, in reverse order",
}


def add_parsers(commands: Any) -> None:
    """Add the commands to the parser of ``triplane``."""
    for action, text in ACTIONS.items():
        parser = _parser(commands, action, text)
        _target(parser)
        parser.add_argument("--cloud", choices=tuple(CLOUDS), help="only this cloud")
        parser.add_argument("--emergency", metavar="WHY", help="why it cannot wait for a deployment window")
        _waiting(parser, always=action == "plan")
        if action in ("plan", "deploy"):
            parser.add_argument(
                "--pull-request",
                type=int,
                metavar="NUMBER",
                help="gets a comment with the changes; for a plan, by default the one that CI builds",
            )
        if action == "rollback":
            parser.add_argument(
                "--to", default="", metavar="VERSION", help="a commit, tag or run that was good before"
            )
        if action != "plan":
            parser.add_argument("--dry-run", action="store_true", help="only plan it; waits for the plan")
        if action == "destroy":
            parser.add_argument(
                "--confirm", metavar="ENVIRONMENT", default="", help="the environment again, to be sure"
            )
    drift = _parser(commands, "drift", "has anybody changed what was deployed?")
    _target(drift)
    _waiting(drift, always=True)

    status = _parser(commands, "status", "the last runs, or one run")
    _run(status, optional=True)
    _waiting(status)

    logs = _parser(commands, "logs", "the logs of a run, over all clouds")
    _run(logs)
    logs.add_argument("--task", default="", metavar="TASK", help="only of this task, or of this cloud")
    logs.add_argument("-f", "--follow", action="store_true", help="until the run ends")
    _timeout(logs)

    for answer in ("approve", "reject"):
        parser = _parser(commands, answer, f"{answer} what a run asks about")
        _run(parser)
        parser.add_argument("--reason", default="", required=answer == "reject", help="why; it is recorded")
        parser.add_argument(
            "--digest", default="", metavar="sha256:...", help="what you read; must be what is asked"
        )
        parser.add_argument("--yes", action="store_true", help="do not ask whether it is meant")
        if answer == "approve":
            parser.add_argument(
                "--hold",
                action="append",
                default=[],
                choices=tuple(CLOUDS),
                help="approve all but this cloud",
            )
            parser.add_argument("--own-run", action="store_true", help="even if you asked for it yourself")


def _parser(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=EPILOG
    )
    parser.add_argument("--server", metavar="URL", help="Airflow's address (TRIPLANE_SERVER, AIRFLOW_URL)")
    parser.add_argument(
        "--ca", metavar="FILE", help="certificates to trust instead of the system's (TRIPLANE_CA)"
    )
    parser.add_argument(
        "--prefix",
        default=os.environ.get("TRIPLANE_PREFIX", ""),
        help="what the platform's DAG ids begin with (TRIPLANE_PREFIX)",
    )
    parser.add_argument(
        "--patience",
        type=_seconds,
        default=300.0,
        metavar="SECONDS",
        help="how long Airflow may be away before this gives up (300)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout, progress on stderr")
    parser.set_defaults(run=_lazily(name), command=name)
    return parser


EPILOG = (
    "Credentials come from the environment: TRIPLANE_TOKEN, or TRIPLANE_USER and TRIPLANE_PASSWORD. "
    "Exit codes: 0 done, 1 failed, 2 usage, 3 waits or goes on, 4 not approved, 5 drift, 6 Airflow is away, "
    "7 denied, 130 interrupted."
)


def _target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--environment",
        default=os.environ.get("TRIPLANE_ENVIRONMENT", ""),
        help="such as staging (TRIPLANE_ENVIRONMENT)",
    )
    parser.add_argument("--revision", help="branch, tag or commit; by default the commit that CI builds")
    parser.add_argument(
        "--key",
        default=os.environ.get("TRIPLANE_KEY", ""),
        help="tells runs of one commit apart; the same key is the same run (TRIPLANE_KEY)",
    )
    parser.add_argument("--again", action="store_true", help="a new run even if there is one of this commit")


def _waiting(parser: argparse.ArgumentParser, *, always: bool = False) -> None:
    if not always:
        parser.add_argument("--wait", action="store_true", help="stay until it ends")
    else:
        parser.set_defaults(wait=True)
    parser.add_argument(
        "--stop-at-approval", action="store_true", help="end with 3 as soon as only people can move it"
    )
    parser.add_argument(
        "--cancel-on-interrupt", action="store_true", help="Ctrl-C ends the run too, not only this command"
    )
    _timeout(parser)


def _timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="end with 3 after this long")


def _run(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    parser.add_argument("run_id", metavar="RUN", nargs="?" if optional else None, help="the id of a run")
    parser.add_argument("--dag", default="", help="its DAG, where several have a run of this id")


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1e7:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return value


def _lazily(name: str) -> Callable[[argparse.Namespace], int]:
    def run(arguments: argparse.Namespace) -> int:
        from triplane.cli.commands import run as run_command

        return run_command(name, arguments)

    return run
