"""What the page's API answers. All values are plain; texts are as they were stored, and shown as text."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

ComponentState = Literal["never", "deployed", "failed", "running", "waiting"]
"""``never``: no rollout has deployed it; ``waiting``: its rollout waits for people."""


class Model(BaseModel):
    """Frozen; times are ISO 8601 with a zone, empty where there is none."""

    model_config = ConfigDict(frozen=True)


class Answer(Model):
    """What every answer has: ``problems`` says what could not be read, and what to do about it."""

    problems: tuple[str, ...] = ()


class Run(Model):
    """A run of a DAG."""

    dag_id: str
    run_id: str
    environment: str
    action: str
    state: str
    started: str = ""
    ended: str = ""
    by: str = ""


class Runs(Answer):
    """Runs that no other run has started, the newest first."""

    runs: tuple[Run, ...]


class Cell(Model):
    """A component in one environment. ``run_id`` is the rollout of its cloud's DAG that saw it last, ``drift`` the state that
    the last check found (empty if there was none)."""

    version: str = ""
    revision: str = ""
    run_id: str = ""
    state: ComponentState = "never"
    drift: str = ""


class Component(Model):
    """A component, and what it is in each environment."""

    address: str
    dag_id: str
    cells: dict[str, Cell]


class Scope(Model):
    """One cloud in one environment."""

    platform: str
    environment: str
    cloud: str
    dag_id: str
    parent_dag_id: str
    drift_dag_id: str
    last: Run | None = None


class DriftAge(Model):
    """The last drift check of an environment: when it was, and how old its oldest good answer is."""

    environment: str
    at: str
    run_id: str
    alarms: int
    checked: int
    expected: int
    oldest_good: str = ""


class Overview(Answer):
    """The first view. ``edges`` are pairs of addresses: the second comes after the first."""

    environments: tuple[str, ...]
    scopes: tuple[Scope, ...]
    components: tuple[Component, ...]
    edges: tuple[tuple[str, str], ...]
    drift: tuple[DriftAge, ...]
    runs: tuple[Run, ...]
    waiting: int
    """Runs that wait for an approval."""


class Change(Model):
    """What would change in one component. ``now`` is the version that is deployed."""

    address: str
    action: str
    risk: str
    summary: str
    lines: tuple[str, ...]
    denied: tuple[str, ...]
    binds: dict[str, str | int]
    now: str = ""


class CloudChanges(Model):
    """The change set of one cloud."""

    digest: str
    platform: str
    environment: str
    cloud: str
    intent: str
    risk: str
    revision: str
    asked: str
    planned_at: str
    emergency: str
    votes: int
    changes: tuple[Change, ...]
    tests: tuple[str, ...]
    policy: tuple[str, ...]
    release: str


class Changes(Answer):
    """The change sets of a run."""

    run: Run
    clouds: tuple[CloudChanges, ...]


class WayBack(Answer):
    """Where a rollback of a scope would go now; ``reason`` says why there is none."""

    environment: str
    cloud: str
    revision: str = ""
    change_set: str = ""
    run_id: str = ""
    reason: str = ""
    changes: tuple[str, ...] = ()
    """Components whose version would be another one, by what is known of both versions."""


class Vote(Model):
    """One person's answer to an approval, or the question for it."""

    task_id: str
    map_index: int
    state: str
    responder: str = ""
    answered_at: str = ""
    option: str = ""
    held: tuple[str, ...] = ()
    reason: str = ""


class CloudSummary(Model):
    """A change set in one line."""

    cloud: str
    digest: str
    changed: int
    risk: str
    intent: str
    revision: str
    emergency: str = ""


class Approval(Model):
    """What a run asks people. ``open`` is the vote that is answered next; ``mine`` whether the user may, and
    ``why_not`` why he may not."""

    run: Run
    task_id: str
    subject: str
    requester: str
    digest: str
    expires_at: str
    votes: tuple[Vote, ...]
    assigned: tuple[str, ...]
    groups: dict[str, tuple[str, ...]]
    reason_needed: bool
    choices: dict[str, str]
    """Names of what can be ticked -> their titles: ``hold_aws``, a veto for that cloud, among them."""
    text: str
    """What is asked where it is not about change sets, in Markdown."""
    clouds: tuple[CloudSummary, ...]
    hidden: tuple[str, ...]
    """The clouds whose change sets are not shown: the user may not read their DAG, or they are not in the artifact store."""
    as_stored: bool
    """Whether the form asks for exactly these change sets."""
    open: Vote | None
    mine: bool
    why_not: str


class Approvals(Answer):
    """What waits for people."""

    user: str
    approvals: tuple[Approval, ...]


class DriftReport(Model):
    """The last check of an environment. ``report`` is as the check has kept it, ``history`` its counts over time."""

    environment: str
    dag_id: str
    report: dict[str, Any] | None
    history: tuple[dict[str, Any], ...]


class Drift(Answer):
    """The drift of all environments."""

    environments: tuple[DriftReport, ...]


class Entry(Model):
    """One entry of a ledger. ``states`` counts what became of the components."""

    number: int
    at: str
    kind: str
    digest: str = ""
    run_id: str = ""
    revision: str = ""
    intent: str = ""
    risk: str = ""
    emergency: str = ""
    about: str = ""
    """The gate or the component that it is about, unless that is all of the cloud."""
    approved_by: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    states: dict[str, int] = {}
    sealed: bool = False


class History(Answer):
    """A page of the ledger of one scope, the newest first; ``before`` is the number to ask for the next page with."""

    scope: Scope | None
    scopes: tuple[Scope, ...]
    entries: tuple[Entry, ...]
    before: int | None = None


class Verification(Answer):
    """What shows that somebody changed a ledger; ``seals`` says whether the seals could be checked here."""

    entries: int
    broken: tuple[str, ...]
    seals: bool


class Place(Model):
    """A task instance."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1


class Task(Model):
    """A task of a rollout, and where it stands. ``retry`` is what to clear so that it is tried again, where it failed."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    cloud: str
    stage: str
    state: str
    attempt: int
    started: str = ""
    ended: str = ""
    address: str = ""
    retry: Place | None = None


class Shift(Model):
    """A version of a function that got a share of the traffic."""

    at: str
    version: str
    percent: int


class Traffic(Model):
    """How the traffic of a function went over to a new version."""

    address: str
    shifts: tuple[Shift, ...]


class Rollout(Answer):
    """A run with those that it has started, task by task."""

    run: Run
    clouds: tuple[str, ...]
    stages: tuple[str, ...]
    tasks: tuple[Task, ...]
    traffic: tuple[Traffic, ...]
