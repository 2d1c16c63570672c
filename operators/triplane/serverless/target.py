"""A place where functions and serverless containers run: what each target must be able to do.

Observe what serves, decide what differs, bring up a new version, shift the traffic step by step, verify by reading,
or put back what served before. Targets take SDK clients that are built already; they know nothing of Airflow. Deciding is pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

from triplane.core.change import ComponentChange, Risk
from triplane.core.digest import digest
from triplane.core.errors import InputError, RefusedError, StaleError, TerminalError
from triplane.serverless.traffic import Traffic

Option = str | int | float | bool | Sequence[str] | None
"""Lists are sets: their order does not count."""
Kind = Literal["package", "image"]
Log = Callable[[str], None]
# Options that say as whom the code runs, or who may call it.
IDENTITY = ("role", "execution_role", "task_role", "service_account", "identity", "invokers")


class Unknown:
    """A value that exists only after another component is applied."""

    def __repr__(self) -> str:
        return "(known after apply)"


UNKNOWN = Unknown()


@dataclass(frozen=True, kw_only=True)
class Desired:
    """One function or service as it shall be.

    ``artifact`` is what runs: ``sha256:<hex>`` of the package, or an image reference with its digest.
    ``config`` is the digest of environment and options *as written*, with their ``${...}`` references, so it
    says nothing about the secrets behind them. ``environment`` and ``options`` hold the resolved values;
    when planning, one that cannot be resolved yet is ``UNKNOWN``. Options that are not given are left out.

    ``revision`` is the commit, recorded as a label. ``attempt`` names this deployment, the same in each of its tries,
    and is recorded on what it makes (16 lowercase hexadecimal digits).
    """

    name: str
    artifact: str
    config: str
    package: bytes | None = field(default=None, repr=False)
    environment: Mapping[str, str | Unknown] = field(default_factory=dict, repr=False)
    options: Mapping[str, Option | Unknown] = field(default_factory=dict)
    revision: str = ""
    attempt: str = ""

    def known_options(self) -> dict[str, Option]:
        """The options to deploy. Raises ``InputError`` naming what is not resolved."""
        unknown = sorted(key for key, value in self.options.items() if isinstance(value, Unknown))
        if unknown:
            raise InputError(f"{self.name}: {', '.join(unknown)} is not known yet; apply its stack first")
        return {key: value for key, value in self.options.items() if not isinstance(value, Unknown)}

    def known_environment(self) -> dict[str, str]:
        """The environment to deploy. Raises ``InputError`` naming what is not resolved."""
        unknown = sorted(key for key, value in self.environment.items() if isinstance(value, Unknown))
        if unknown:
            raise InputError(
                f"{self.name}: environment {', '.join(unknown)} is not known yet; apply its stack first"
            )
        return {key: value for key, value in self.environment.items() if not isinstance(value, Unknown)}


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What serves now.

    ``version`` names it (Lambda version, Cloud Run revision, deployment id). ``options`` uses the same keys
    and units as ``Desired.options``. ``environment`` leaves out what the platform itself sets.
    ``config`` is the stamp that the last deployment left on it, None when someone else made it.
    """

    version: str
    artifact: str | None = None
    config: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    options: Mapping[str, Option] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """The cloud is at work on something; look again in ``seconds``."""

    why: str
    seconds: float = 5.0


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A step is done. ``version`` is what it was about; ``details`` is for people (URL, alias, traffic)."""

    version: str
    details: Mapping[str, str] = field(default_factory=dict)


Progress = Waiting | Ready


@dataclass(frozen=True, kw_only=True)
class Smoke:
    """One request to a new version, and what it must answer.

    ``payload`` is sent as JSON, None sends nothing. ``path`` and ``method`` are for what speaks HTTP. The answer must
    have ``status`` (a function that ends well counts as 200) and hold the text ``contains``.
    """

    payload: Any = None
    path: str = "/"
    method: str = "GET"
    status: int = 200
    contains: str = ""
    timeout: float = 30.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a version answered: an HTTP status (0: nobody answered), the body as text, and its log if it came along."""

    status: int
    body: str = ""
    log: Sequence[str] = ()


class DeployFailed(TerminalError):
    """The new version does not serve. ``restored`` is the version that serves instead, None if none does."""

    def __init__(self, message: str, *, restored: str | None = None) -> None:
        super().__init__(message)
        self.restored = restored


class Target(Protocol):
    """One cloud's way to run functions or containers.

    ``options`` names the options it knows, ``runs`` what it can run. ``splits`` says whether two versions can share
    the traffic: where not, ``shift`` is only asked for 100 percent. ``apart`` says whether a version can be asked before
    it has traffic.

    ``prepare``, ``shift`` and ``restore`` are called again and again, by any process, until they say ``Ready``: each
    call looks at what is there, starts what has to be done next, and returns without waiting for it. So a call that
    was cut off is simply made again. Nothing is begun twice: what carries ``desired.attempt`` is this deployment's own.
    """

    options: frozenset[str]
    runs: frozenset[Kind]
    splits: bool
    apart: bool

    def observe(self, name: str) -> Observed | None:
        """What serves now, None when there is nothing of that name."""

    def prepare(self, desired: Desired, previous: Observed | None, log: Log) -> Progress:
        """Bring up a new version that gets no traffic while ``previous`` serves.

        :raises DeployFailed: it does not come up
        :raises StaleError: somebody else deploys meanwhile
        """

    def shift(self, name: str, version: str, percent: int, previous: Observed | None, log: Log) -> Progress:
        """Give ``percent`` of the traffic to ``version`` and the rest to ``previous``.

        :raises StaleError: somebody else deploys meanwhile; it is not restored then, what is theirs stays
        """

    def verify(self, desired: Desired, version: str) -> None:
        """Reads back that ``version`` has all traffic and runs what it shall; raises ``DeployFailed``."""

    def restore(self, name: str, previous: Observed | None, log: Log) -> Progress:
        """Let ``previous`` serve again, alone; where there was none, remove what a deployment has made.

        ``Ready.version`` is what serves then, which may be another name for the same; "" if nothing does.
        """

    def invoke(self, name: str, version: str, smoke: Smoke) -> Answer:
        """Ask ``version``, whether or not it has traffic.

        :raises InputError: this target cannot ask a single version
        """

    def tail(self, name: str, version: str) -> Sequence[str]:
        """The last lines of the log of ``version``; empty where they cannot be had."""

    def delete(self, name: str) -> Progress:
        """Remove it with all its versions. Called again until it is gone; safe to repeat."""


def main_version(version: str) -> str:
    """Of ``a=90,b=10`` the one with the largest share; a version that serves alone is itself."""
    shares = [part.partition("=") for part in version.split(",")]
    return max(shares, key=lambda share: int(share[2] or 100))[0]


def difference(desired: Desired, observed: Observed) -> tuple[str, ...]:
    """One line per field that differs. Environment values are never shown, they may be secrets."""
    lines = []
    if observed.artifact != desired.artifact:
        lines.append(f"code: {observed.artifact or 'unknown'} -> {desired.artifact}")
    for key in sorted(desired.options):
        was, shall = observed.options.get(key), desired.options[key]
        if isinstance(shall, Unknown) or plain(was) != plain(shall):
            lines.append(f"{key}: {'(not set)' if was is None else was} -> {shall}")
    words = {key: _changed(key, desired, observed) for key in {*desired.environment, *observed.environment}}
    lines += [f"environment {key}: {word}" for key, word in sorted(words.items()) if word]
    if not lines and observed.config != desired.config:
        lines.append("configuration: written differently, or deployed by someone else")
    return tuple(lines)


def plain(option: Option) -> Option:
    """An option for comparing: lists without their order."""
    return tuple(sorted(option)) if isinstance(option, Sequence) and not isinstance(option, str) else option


def _changed(key: str, desired: Desired, observed: Observed) -> str:
    if key not in desired.environment:
        return "removed (not in the spec)"
    if isinstance(desired.environment[key], Unknown):
        return "known after apply"
    if key not in observed.environment:
        return "added"
    return "changed" if desired.environment[key] != observed.environment[key] else ""


@dataclass(frozen=True, kw_only=True)
class How:
    """How a new version takes over, for people and for what an approval covers."""

    traffic: str
    smoke: str
    gate: str = ""
    """Digest of the checks that judge each step, empty where nothing does."""

    def binds(self) -> dict[str, str | int]:
        gate: dict[str, str | int] = {"gate": self.gate} if self.gate else {}
        return {"traffic": self.traffic, "smoke": self.smoke, **gate}


AT_ONCE = How(traffic=Traffic().told(), smoke="")


def how(target: Target, traffic: Traffic, smoke: Smoke | None, gate: Sequence[Mapping[str, Any]] = ()) -> How:
    """:raises InputError: the target cannot share its traffic between two versions"""
    if len(traffic.percents()) > 1 and not target.splits:
        raise InputError(
            f"traffic: {traffic.strategy} shares the traffic between two versions, which this target cannot; "
            "use all_at_once"
        )
    asked = "" if smoke is None else digest(asdict(smoke))
    return How(traffic=traffic.told(), smoke=asked, gate=digest(list(gate)) if gate else "")


def plan(address: str, desired: Desired, observed: Observed | None, how: How = AT_ONCE) -> ComponentChange:
    """What a deployment would change, and everything that an approval of it must cover."""
    lines = ("new",) if observed is None else difference(desired, observed)
    action: Literal["create", "update", "none"] = (
        "create" if observed is None else "update" if lines else "none"
    )
    risk = {"create": Risk.LOW, "update": Risk.MEDIUM, "none": Risk.NONE}[action]
    if observed is not None and any(_differs(key, desired, observed) for key in IDENTITY):
        risk = Risk.CRITICAL
    steps = [f"traffic: {how.traffic}"] if action == "update" and how.traffic != "100 %" else []
    steps += ["a gate judges each step"] if action != "none" and how.gate else []
    return ComponentChange(
        address=address,
        action=action,
        risk=risk,
        summary={"create": "new", "none": "no changes"}.get(action, f"{len(lines)} to change"),
        lines=(*lines, *steps),
        binds=binds(desired) | how.binds() | {"observed": observed.version if observed else ""},
    )


def plan_to_destroy(address: str, name: str, observed: Observed | None) -> ComponentChange:
    """What deleting it changes."""
    there = observed is not None
    return ComponentChange(
        address=address,
        action="destroy" if there else "none",
        risk=Risk.CRITICAL if there else Risk.NONE,
        summary=f"delete {name}" if there else f"{name} is not there",
        lines=(f"- {name}: version {observed.version or '(none serves)'}, and all versions before it",)
        if observed
        else (),
        binds={"name": name, "destroys": observed.version if observed else ""},
    )


def check_destroys(approved: ComponentChange, name: str, observed: Observed | None) -> None:
    """Make sure that what would be deleted is what was approved to be.

    :raises RefusedError: this was not approved
    :raises StaleError: another version serves by now
    """
    if approved.binds.get("name") != name or "destroys" not in approved.binds:
        raise RefusedError(f"to delete {name} was not approved; plan again and ask again")
    if observed is not None and observed.version != approved.binds["destroys"]:
        raise StaleError(
            f"{name}: {observed.version} serves now, but the approved plan was made when "
            f"{approved.binds['destroys'] or 'nothing'} served; plan again"
        )


def _differs(key: str, desired: Desired, observed: Observed) -> bool:
    shall = desired.options.get(key)
    if key not in desired.options or isinstance(shall, Unknown):
        return key in desired.options
    return plain(shall) != plain(observed.options.get(key))


def binds(desired: Desired) -> dict[str, str | int]:
    """What the approved digest covers, apart from the observed version."""
    return {"artifact": desired.artifact, "config": desired.config}


def decide(
    desired: Desired, observed: Observed | None, approved_version: str
) -> Literal["deploy", "nothing"]:
    """What to do now about a change that was approved while ``approved_version`` served ("" = nothing did).

    Nothing when it is there already (a retry after a crash). Raises ``StaleError`` when something else has
    been deployed since.
    """
    if observed is not None and not difference(desired, observed):
        return "nothing"
    version = observed.version if observed else ""
    if version != approved_version:
        raise StaleError(
            f"{desired.name}: {version or 'nothing'} serves now, but the approved plan was made when "
            f"{approved_version or 'nothing'} served; plan again"
        )
    return "deploy"


def check_options(target: Target, desired: Desired) -> None:
    """Raises ``InputError`` for an option that the target does not know, or code it cannot run."""
    strange = sorted(set(desired.options) - target.options)
    if strange:
        known = ", ".join(sorted(target.options))
        raise InputError(f"{desired.name}: {', '.join(strange)} not known here; known are {known}")
    kind: Kind = "image" if desired.package is None else "package"
    if kind not in target.runs:
        (other,) = target.runs
        raise InputError(f"{desired.name}: this target runs {other}s; give {other!r} and nothing else")
