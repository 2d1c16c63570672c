"""``ansible-playbook``: pure argument builders, and one that runs it."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from triplane.core.errors import InputError, ToolError, ToolLost, ToolTimeout
from triplane.core.jobs import Job
from triplane.core.private import write_private
from triplane.core.process import Command, Completed, attach, run, tool_env
from triplane.core.redact import Redactor
from triplane.machines.events import Events, Recap
from triplane.machines.hosts import as_values, from_environment

CALLBACKS = Path(__file__).with_name("callback")
OLDEST = (2, 19)
HOSTS_FAILED = frozenset({2, 4})
"""Return codes that say only that hosts failed or were unreachable; some of them are other errors too, without a recap."""
INVENTORY_SECONDS = 120.0
SECRET = "TRIPLANE_SECRET_"
"""What the environment variables begin with that hold the secret variables."""
EMPTY: Mapping[str, str] = MappingProxyType({})
_VARIABLE = re.compile(r"(?!ansible_ssh_args$|ansible_host_key_checking$)[A-Za-z_]\w*")
Args = tuple[str, ...]


class HostsError(ToolError):
    """The playbook ran, and not on every host to its end."""

    def __init__(self, message: str) -> None:
        self._said = message
        super().__init__(("ansible-playbook",), 2, "")

    def _message(self) -> str:
        return self._said


@dataclass(frozen=True, kw_only=True)
class Play:
    """One call of ``ansible-playbook``. ``limit`` are the hosts that it is for, None for all."""

    playbook: str
    check: bool = False
    limit: tuple[str, ...] | None = None


def playbook_args(
    play: Play, inventory: Sequence[Path], *, variables: Path, forks: int, limit: Path | None = None
) -> Args:
    """``ansible-playbook``; ``variables`` is a file of :func:`extra_vars`, ``limit`` one of host names."""
    return (
        play.playbook,
        *(word for path in inventory for word in ("--inventory", str(path))),
        *("--extra-vars", f"@{variables}", "--forks", str(forks), "--diff"),
        *(("--check",) if play.check else ()),
        *(() if limit is None else ("--limit", f"@{limit}")),
    )


def inventory_args(inventory: Sequence[Path]) -> Args:
    """``ansible-inventory``. Its output may hold secrets of the inventory."""
    return (*(word for path in inventory for word in ("--inventory", str(path))), "--list")


def extra_vars(variables: Mapping[str, Any], secrets: Iterable[str], ssh_args: str) -> str:
    """The variables that go above all others, as YAML: of ``secrets`` only where in the environment each is.

    :raises InputError: Ansible takes no variable of such a name
    """
    names = list(secrets)
    if bad := [name for name in (*variables, *names) if not _VARIABLE.fullmatch(name)]:
        raise InputError(
            f"{', '.join(bad)}: a variable of Ansible has a name of letters, digits and underscores"
        )
    kept = {"ansible_ssh_args": ssh_args, "ansible_host_key_checking": True}
    looked_up = {name: from_environment(f"{SECRET}{name}") for name in names}
    return as_values({**variables, **looked_up, **kept})


def environment(
    scratch: Path, *, config: Path, ssh_args: str, key: str | None = None, secrets: Mapping[str, Any] = EMPTY
) -> dict[str, str]:
    """Ansible's environment: the events, the checks of host keys, the ``secrets`` that are variables, and an ssh agent
    of the run's own for ``key``.
    """
    agent = {} if key is None else {"ANSIBLE_SSH_AGENT": "auto", "ANSIBLE_PRIVATE_KEY": key}
    return tool_env(
        "ANSIBLE_COLLECTIONS_PATH",
        LC_ALL="C.UTF-8",
        ANSIBLE_CONFIG=str(config),
        ANSIBLE_STDOUT_CALLBACK="triplane_events",
        ANSIBLE_CALLBACK_PLUGINS=str(CALLBACKS),
        ANSIBLE_NOCOLOR="1",
        ANSIBLE_NOCOWS="1",
        ANSIBLE_RETRY_FILES_ENABLED="0",
        ANSIBLE_LOCAL_TEMP=str(scratch / "tmp"),
        ANSIBLE_SSH_CONTROL_PATH_DIR=str(scratch / "cp"),
        ANSIBLE_SSH_ARGS=ssh_args,
        ANSIBLE_HOST_KEY_CHECKING="1",
        ANSIBLE_PIPELINING="1",
        ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED="1",
        **agent,
        **{f"{SECRET}{name}": json.dumps(value) for name, value in secrets.items()},
    )


def find(binary: str = "ansible-playbook") -> str:
    """The file of a command of Ansible: a path as it is, else beside this Python, or on PATH.

    :raises InputError: it is not installed
    """
    beside = Path(binary if "/" in binary else Path(sys.executable).with_name(binary))
    found = str(beside) if beside.exists() else shutil.which(binary)
    if found is None:
        raise InputError(
            f"{binary} is not installed on this worker: install the extra `ansible` of airflow-provider-triplane"
        )
    return found


@dataclass(frozen=True, kw_only=True)
class Ansible:
    """Ansible in one folder of playbooks.

    ``say`` gets one readable, redacted line for each event. ``scratch`` is a private folder for this run, ``variables`` a
    file of :func:`extra_vars`. Times are in seconds: ``timeout`` for one run (None: no limit), ``grace``
    for an interrupted one to stop its workers.
    """

    folder: Path
    scratch: Path
    inventory: Sequence[Path]
    variables: Path
    env: Mapping[str, str] = field(repr=False)
    forks: int = 10
    timeout: float | None = None
    grace: float = 30
    playbook_bin: str = "ansible-playbook"
    say: Callable[[str], None] = print
    redactor: Callable[[], Redactor] = Redactor

    def listed(self) -> dict[str, Any]:
        """The inventory as Ansible understands it.

        :raises InputError: it does not
        """
        beside = Path(find(self.playbook_bin)).with_name("ansible-inventory")
        argv = (str(beside), *inventory_args(self.inventory))
        command = Command(argv=argv, env=self.env, cwd=self.folder, name="ansible-inventory")
        try:
            done = run(command, redact=self._redact, timeout=INVENTORY_SECONDS)
        except ToolTimeout:
            raise
        except ToolError as error:
            raise InputError(f"the inventory cannot be read: {error.stderr.strip()}") from None
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def run(self, play: Play, job: Job | None = None) -> Recap:
        """Run a playbook; as ``job`` it is found again if this process is killed.

        :raises InputError: there was nothing to run: the playbook or the inventory is wrong
        :raises ToolError: it ended early; hosts that failed or were unreachable are no error, they are in the recap
        """
        limit = None
        if play.limit is not None:
            limit = write_private(self.scratch / "limit", "".join(f"{host}\n" for host in play.limit))
        args = playbook_args(play, self.inventory, variables=self.variables, forks=self.forks, limit=limit)
        command = Command(
            argv=(find(self.playbook_bin), *args),
            env=self.env,
            cwd=self.folder,
            stop_signal=signal.SIGINT,
            grace=self.grace,
            ok=frozenset({0}) | HOSTS_FAILED,
            name="ansible-playbook",
        )
        events = Events(self.redactor)
        try:
            done = run(command, on_line=self._follow(events), redact=str, timeout=self.timeout, job=job)
        except ToolError as error:
            raise self._explained(error, events) from None
        recap = self._recap(done, events)
        if play.limit is None and not recap.targets:
            raise InputError(f"no play of {play.playbook} is for any of the machines; look at its `hosts`")
        return recap

    def left_over(self, job: Job) -> Recap | None:
        """What the run that a killed try left at ``job`` came to, None if there was none or it was cut short."""
        events = Events(self.redactor)
        try:
            if attach(job, on_line=self._follow(events), redact=str) is None:
                return None
        except ToolError as error:
            self.say(f"an earlier try: {self._explained(error, events)}")
        finally:
            if not job.running:
                job.forget()
        return events.recap if events.recap.complete else None

    def _follow(self, events: Events) -> Callable[[str], None]:
        def on_line(line: str) -> None:
            for text in events.read(line):
                self.say(text)

        return on_line

    def _recap(self, done: Completed, events: Events) -> Recap:
        version = tuple(int(part) for part in events.version.split(".")[:2] if part.isdigit())
        if events.version and version < OLDEST:
            raise InputError(
                f"{done.argv[0]} is {events.version}; 2.19 is the oldest that keeps SSH keys off disks"
            )
        if events.recap.complete and done.returncode in (0, *HOSTS_FAILED):
            return events.recap
        said = self._redact(done.stderr).strip()
        raise InputError(f"ansible-playbook ran nothing: {said or 'it said nothing'}")

    def _explained(self, error: ToolError, events: Events) -> ToolError | InputError:
        said = "" if error.stderr.lstrip().startswith('{"event"') else self._redact(error.stderr).strip()
        argv = ("ansible-playbook",)
        if isinstance(error, ToolTimeout):
            return ToolTimeout(argv, error.returncode, said, error.limit)
        if isinstance(error, ToolLost):
            return ToolLost(argv, error.returncode, said)
        if not events.recap.targets and error.returncode < 128:
            return InputError(f"ansible-playbook ran nothing: {said or f'it ended with {error.returncode}'}")
        return ToolError(argv, error.returncode, said)

    def _redact(self, text: str) -> str:
        return self.redactor()(text)
