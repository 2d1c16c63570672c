"""What the commands that talk to Airflow do."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from triplane.cli import changes, overview, questions, start
from triplane.cli.api import Api, connect
from triplane.cli.exits import Exit, RemoteError
from triplane.cli.follow import follow
from triplane.cli.logs import logs
from triplane.cli.observe import Observation, observe
from triplane.cli.text import clean, one_line
from triplane.cli.view import Frame, Lines, Links, View, key, view
from triplane.core.asked import APPROVE, REJECT
from triplane.core.errors import InputError, TriplaneError

DRIFT = "drift_check"
OUTCOMES = {
    Exit.DONE: "done",
    Exit.FAILED: "failed",
    Exit.WAITING: "waiting",
    Exit.NOT_APPROVED: "not_approved",
    Exit.DRIFT: "drift",
    Exit.INTERRUPTED: "detached",
}


def run(name: str, arguments: argparse.Namespace) -> int:
    """Run one command, and say on stderr (and as JSON, if that was asked for) what went wrong."""
    session = Session(arguments)
    with _interrupts():
        try:
            return int(COMMANDS[name](session))
        except TriplaneError as error:
            code = Exit.USAGE if isinstance(error, InputError) else getattr(error, "code", Exit.FAILED)
            return session.failed(str(error), code)
        except KeyboardInterrupt:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the first is being heeded
            return session.interrupted()


class Session:
    """One call of a command: its options, its output, and the run that it is about."""

    def __init__(self, arguments: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> None:
        self.options = arguments
        self.environ = environ
        self.started: start.Started | None = None
        self.progress: TextIO = sys.stderr if arguments.json else sys.stdout
        self._api: Api | None = None
        self._view: View | None = None

    @property
    def api(self) -> Api:
        """The connection, made when it is first used."""
        if self._api is None:
            self._api = connect(
                self.options.server, self.options.ca, self.options.patience, self.say, self.environ
            )
            if self._api.server.startswith("http://") and "//127.0.0.1" not in self._api.server:
                self.say("the connection is not encrypted: use https, or only a network that you trust")
        return self._api

    def say(self, text: str) -> None:
        """A line about what goes on."""
        if self._view:
            self._view.note(one_line(text, None))
        else:
            print(one_line(text, None), file=self.progress, flush=True)

    def result(self, document: Mapping[str, Any], *, text: list[str]) -> None:
        """What the command was for: text for people, or the JSON document."""
        if self.options.json:
            print(json.dumps(document, indent=2))
        elif text:
            print("\n".join(text))
        sys.stdout.flush()

    def failed(self, text: str, code: Exit) -> int:
        """The end, when something went wrong."""
        print(f"triplane: {clean(text)}", file=sys.stderr)
        if self.options.json:
            print(
                json.dumps(
                    {"outcome": code.name.lower(), "exit_code": int(code), "error": clean(text)}, indent=2
                )
            )
        return int(code)

    def interrupted(self) -> int:
        """Ctrl-C, or SIGTERM as CI sends it."""
        text = "interrupted"
        if self.started and getattr(self.options, "cancel_on_interrupt", False):
            self.api.fail(self.started.dag_id, self.started.run_id)
            text = f"{self.started.run_id} was ended: it counts as failed, and what its clouds were doing they finish"
        elif self.started:
            text = f"detached; the run goes on: triplane status {self.started.run_id} --wait"
        return self.failed(text, Exit.INTERRUPTED)

    def dag(self, name: str) -> str:
        """The id of one of the platform's DAGs."""
        return f"{self.options.prefix}{name}"

    def find(self) -> start.Started:
        """The run that was named."""
        dag_id = self.options.dag or start.find(self.api, self.options.run_id)
        return start.Started(dag_id, self.options.run_id, attached=True)

    def follow(self) -> Frame:
        """Stay with the run, as the options say."""
        assert self.started is not None
        self._view = self._new_view(self.api.link)
        try:
            return follow(
                self.api,
                *self.started[:2],
                self._view,
                timeout=self.options.timeout,
                stop_at_approval=self.options.stop_at_approval,
            )
        finally:
            self._view.close()
            self._view = None

    def _new_view(self, links: Links) -> View:
        return Lines(self.progress, links) if self.options.json else view(self.progress, self.environ, links)


def _act(session: Session) -> Exit:
    """``plan``, ``deploy``, ``rollback``, ``destroy`` and ``drift``."""
    options = session.options
    request = _request(session)
    if (
        options.command == "destroy"
        and not request.conf["dry_run"]
        and options.confirm != request.environment
    ):
        raise InputError(
            f"this removes everything of {request.environment}: say --confirm {request.environment} too"
        )
    session.started = found = start.start(session.api, request, again=options.again)
    if found.attached:
        session.say(f"{found.run_id} is there already, for the same request; --again starts a new one")
    else:
        session.say(f"started {found.run_id} of {found.dag_id}")
    if not request.repeatable:
        session.say(
            "asked for again it will be a new run: no commit is known, or it is no deployment; --key names it"
        )
    waits = options.wait or request.conf.get("dry_run")
    if not waits:
        url = session.api.link(*found[:2])
        document = _document(session, None) | {"exit_code": int(Exit.DONE), "outcome": "started"}
        session.result(document, text=[url, f"triplane status {found.run_id} --wait"])
        return Exit.DONE
    return _end(session, session.follow())


def _request(session: Session) -> start.Request:
    options = session.options
    action = options.command
    if not options.environment:
        raise InputError("which environment? Give --environment, or set TRIPLANE_ENVIRONMENT")
    revision = start.commit(options.revision, session.environ)
    conf: dict[str, Any] = {"environment": options.environment, "revision": revision}
    dag_id = session.dag(DRIFT)
    if action != "drift":
        dag_id = session.dag(f"deploy_{options.cloud}" if options.cloud else "deploy")
        conf |= {"action": action, "dry_run": bool(getattr(options, "dry_run", False))}
        more = {
            "emergency": options.emergency,
            "to": getattr(options, "to", ""),
            "pull_request": _number(session),
        }
        conf |= {name: value for name, value in more.items() if value}
    note = f"triplane {action} of {revision}" + (f" ({options.key})" if options.key else "")
    return start.Request(dag_id, action, options.environment, revision, conf, options.key, note[:1000])


def _number(session: Session) -> int | None:
    """The pull request that the run is about."""
    given: int | None = getattr(session.options, "pull_request", None)
    return (
        start.pull_request(session.environ) if given is None and session.options.command == "plan" else given
    )


def _end(session: Session, frame: Frame) -> Exit:
    """Say how a run went."""
    seen = frame.seen
    conf = seen.run.get("conf") or {}
    code = seen.exit_code
    document = _document(session, frame)
    text: list[str] = []
    if str(seen.run["dag_id"]).endswith(DRIFT):
        report = changes.drift(session.api, seen) if seen.ended else {}
        document["drift"] = report
        document["drifted"] = changes.drifted(report)
        text = changes.drift_lines(report)
        code = Exit.DRIFT if code is Exit.DONE and document["drifted"] else code
    elif conf.get("action") == "plan" or conf.get("dry_run"):
        document["change_sets"] = sets = changes.change_sets(session.api, seen)
        text = changes.lines(sets)
    elif seen.ended:
        document["rows"] = rows = changes.rows(session.api, seen)
        from triplane.rollout.report import table

        text = [clean(line) for line in table(rows)] if rows else []
    document |= {"exit_code": int(code), "outcome": OUTCOMES[code]}
    session.result(document, text=[*text, *_last_words(session, frame, code)])
    return code


def _last_words(session: Session, frame: Frame, code: Exit) -> list[str]:
    run_id = frame.seen.run["dag_run_id"]
    if code is Exit.WAITING:
        asked = [one_line(question["subject"]) for question in frame.seen.questions]
        waits = [f"waits for approval: {subject}" for subject in dict.fromkeys(asked)]
        approve = [f"triplane approve {run_id}"] if asked else []
        return ["", f"{run_id} is {frame.seen.state}", *waits, *approve, f"triplane status {run_id} --wait"]
    if code in (Exit.FAILED, Exit.NOT_APPROVED):
        assert session.started is not None
        how = "mend the cause, then clear the failed task in Airflow to go on, or ask again with --again"
        return [
            "",
            f"{run_id} {OUTCOMES[code].replace('_', ' ')}: {session.api.link(*session.started[:2])}",
            how,
        ]
    return []


def _document(session: Session, frame: Frame | None) -> dict[str, Any]:
    """What ``--json`` says of a run."""
    assert session.started is not None
    started = session.started
    found: dict[str, Any] = {
        "run_id": started.run_id,
        "dag_id": started.dag_id,
        "attached": started.attached,
        "url": session.api.link(started.dag_id, started.run_id),
    }
    if frame is None:
        return found
    conf = frame.seen.run.get("conf") or {}
    return found | {
        "state": frame.seen.state,
        "seconds": round(frame.elapsed, 1),
        **{name: conf.get(name) for name in ("environment", "action", "revision")},
        "questions": [_question(session, question) for question in frame.seen.questions],
        "problems": [
            {
                "task": task["task_id"],
                "run_id": task["dag_run_id"],
                "lines": list(frame.why.get(key(task), ())),
            }
            for task in frame.seen.failed
        ],
    }


def _question(session: Session, question: Mapping[str, Any]) -> dict[str, str]:
    task = question["task_instance"]
    return {
        "subject": one_line(question["subject"]),
        "digest": questions.digest_of(question),
        "url": session.api.link(task["dag_id"], task["dag_run_id"], task["task_id"]),
    }


def _status(session: Session) -> Exit:
    if not session.options.run_id:
        document = overview.last_runs(session.api, session.options.prefix)
        session.result(document, text=overview.lines(document))
        return Exit.DONE
    session.started = session.find()
    if not session.options.wait:
        session.options.timeout = 0.0
    return _end(session, session.follow())


def _logs(session: Session) -> Exit:
    session.started = found = session.find()
    options = session.options
    seen = logs(
        session.api,
        found.dag_id,
        found.run_id,
        session.progress,
        task=options.task,
        follow=options.follow,
        timeout=options.timeout,
    )
    code = seen.exit_code if options.follow else Exit.DONE
    if options.json:
        session.result({"run_id": found.run_id, "state": seen.state, "exit_code": int(code)}, text=[])
    return code


def _answer(session: Session) -> Exit:
    options = session.options
    found = session.find()
    approves = options.command == "approve"
    answer = questions.Answer(
        APPROVE if approves else REJECT,
        options.reason,
        tuple(getattr(options, "hold", ())),
        options.digest,
    )
    seen = observe(session.api, found.dag_id, found.run_id)
    asked = questions.chosen(session.api, seen, answer, own_run=getattr(options, "own_run", True))
    for question in asked:
        questions.filled(question, answer)
        print(clean(f"{question['subject']}\n\n{question.get('body') or ''}", None), file=session.progress)
        session.say(f"{options.command}: {questions.digest_of(question)}")
    if not (options.yes or options.digest):
        _confirm(session, seen)
    questions.send(session.api, asked, answer, session.say)
    digests = [questions.digest_of(question) for question in asked]
    session.result(
        {"run_id": found.run_id, "answer": answer.option, "digests": digests, "exit_code": 0}, text=[]
    )
    return Exit.DONE


def _confirm(session: Session, seen: Observation) -> None:
    """:raises InputError: nobody said yes"""
    if not sys.stdin.isatty() or session.options.json:
        raise InputError("say what you read with --digest sha256:..., or --yes: there is nobody to ask here")
    print(
        f"{session.options.command} this for {seen.run['dag_run_id']}? [y/N] ", end="", file=session.progress
    )
    session.progress.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise RemoteError("nothing was answered")


@contextmanager
def _interrupts() -> Iterator[None]:
    """SIGTERM, with which CI cancels a job, is what Ctrl-C is."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


COMMANDS = {
    **dict.fromkeys(("plan", "deploy", "rollback", "destroy", "drift"), _act),
    "status": _status,
    "logs": _logs,
    "approve": _answer,
    "reject": _answer,
}
