"""Progress for people: a table that is redrawn on a terminal, one line for each change elsewhere."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol, TextIO

from triplane.cli.observe import ENDED, Observation
from triplane.cli.text import one_line, seconds
from triplane.core.asked import ASKS
from triplane.core.stages import EVERYWHERE, cloud_of, name_of, rank, stage_of
from triplane.core.words import CLOUDS

QUIET = (None, "none", "scheduled", "queued", "skipped", "deferred", "removed")
BAD = ("failed", "upstream_failed")
FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
COLORS = {"failed": "31", "running": "36", "asks": "33", "done": "32", "waits": "2"}
CELL = 16
_SGR = re.compile(r"\x1b\[[0-9;]*m")
Links = Callable[..., str]


class Frame(NamedTuple):
    """One look at a run: what was seen, why tasks failed (task id, run id, index -> lines), seconds since it began."""

    seen: Observation
    why: Mapping[tuple[str, str, int], Sequence[str]]
    elapsed: float


class View(Protocol):
    """Shows a run while it goes on."""

    def show(self, frame: Frame) -> None:
        """There is something new to see, perhaps."""

    def note(self, text: str) -> None:
        """Something that is not about the run."""

    def tick(self) -> None:
        """Time has passed."""

    def close(self) -> None:
        """Nothing more comes."""


def view(out: TextIO, environ: Mapping[str, str], links: Links) -> View:
    """The table on a terminal, lines elsewhere."""
    if not out.isatty() or environ.get("TERM") == "dumb":
        return Lines(out, links)
    return Table(out, links, color="NO_COLOR" not in environ)


class Lines:
    """One line for each change, with the time of day and the seconds since the run began. No escape codes."""

    def __init__(self, out: TextIO, links: Links) -> None:
        self._out = out
        self._links = links
        self._seen: dict[tuple[str, str, int], tuple[str, int]] = {}
        self._elapsed = 0.0
        self._began = time.monotonic()

    def show(self, frame: Frame) -> None:
        """Print what changed since the last look."""
        self._elapsed = frame.elapsed
        for task in frame.seen.shown:
            state, place = task["state"], key(task)
            now = (state, task["try_number"])
            if state in QUIET or self._seen.get(place) == now:
                continue
            self._seen[place] = now
            took = f" in {task['duration']:.1f} s" if state in ENDED and task.get("duration") else ""
            self.note(f"{cloud_of(task):5}  {name_of(task)}: {state.replace('_', ' ')}{took}")
            if state == ASKS:
                self.note(f"       {_asked(frame, task)}")
                self.note(
                    f"       answer at {self._links(task['dag_id'], task['dag_run_id'], task['task_id'])}"
                )
            for line in frame.why.get(place, ()) if state == "failed" else ():
                self.note(f"       {one_line(line)}")

    def note(self, text: str) -> None:
        """One line."""
        clock = datetime.now(UTC).strftime("%H:%M:%S")
        self._out.write(f"{clock} {self._elapsed:6.0f} s  {text}\n")
        self._out.flush()

    def tick(self) -> None:
        """Lines do not change."""

    def close(self) -> None:
        """Nothing to put back."""


class Table:
    """Stages times clouds, redrawn in place; what was noted stays above it."""

    def __init__(
        self, out: TextIO, links: Links, *, color: bool, size: Callable[[], tuple[int, int]] | None = None
    ) -> None:
        self._out = out
        self._links = links
        self._color = color
        self._size = size or _size
        self._drawn = 0
        self._frame: Frame | None = None
        self._at = 0.0

    def show(self, frame: Frame) -> None:
        """Draw it."""
        self._frame, self._at = frame, time.monotonic()
        self.tick()

    def tick(self) -> None:
        """Draw it again: the clock has moved."""
        if self._frame is None:
            return
        since = 0.0 if self._frame.seen.ended else time.monotonic() - self._at
        frame = self._frame._replace(elapsed=self._frame.elapsed + since)
        width, height = self._size()
        lines = [_cut(line, width - 1) for line in screen(frame, self._links, int(time.monotonic() * 4))]
        if len(lines) > height - 1:
            lines = [*lines[: height - 2], f"... {len(lines) - height + 2} more lines"]
        self._draw(lines)

    def note(self, text: str) -> None:
        """A line above the table."""
        self._draw([])
        self._out.write(f"{one_line(text)}\n")
        self.tick()

    def close(self) -> None:
        """Leave the last table where it is."""
        self._out.write("\x1b[?25h" if self._drawn else "")
        self._out.flush()

    def _draw(self, lines: Sequence[str]) -> None:
        plain = lines if self._color else [_SGR.sub("", line) for line in lines]
        up = f"\x1b[{self._drawn}F" if self._drawn else ""
        self._out.write(f"\x1b[?25l{up}\x1b[J" + "".join(f"{line}\n" for line in plain))
        self._out.flush()
        self._drawn = len(lines)


def screen(frame: Frame, links: Links, moment: int = 0) -> list[str]:
    """The table and what is below it: questions and failures."""
    run, tasks = frame.seen.run, frame.seen.shown
    environment = one_line((run.get("conf") or {}).get("environment", ""))
    head = f"{run['dag_id']}  {environment}  {frame.seen.state}  {seconds(frame.elapsed)}"
    found = {cloud_of(task) for task in tasks}
    columns = [cloud for cloud in (EVERYWHERE, *CLOUDS) if cloud in found]
    stages = sorted({stage_of(task) for task in tasks} - {"record", "report", "parity"}, key=rank)
    lines = [_paint(head, "1"), links(run["dag_id"], run["dag_run_id"]), ""]
    lines.append(f"{'':15}" + "".join(f"{cloud:{CELL}}" for cloud in columns).rstrip())
    for stage in stages:
        cells = [
            _cell([task for task in tasks if (stage_of(task), cloud_of(task)) == (stage, cloud)], moment)
            for cloud in columns
        ]
        lines.append(f"{stage:15}" + "".join(cells).rstrip())
    return [*lines, *_below(frame, links)]


def key(task: Mapping[str, Any]) -> tuple[str, str, int]:
    """A task among those of one observation."""
    return str(task["task_id"]), str(task["dag_run_id"]), int(task["map_index"])


def _below(frame: Frame, links: Links) -> Iterator[str]:
    for question in frame.seen.questions:
        task = question["task_instance"]
        yield ""
        yield _paint(f"waits for approval: {one_line(question['subject'])}", COLORS["asks"])
        yield f"  {links(task['dag_id'], task['dag_run_id'], task['task_id'])}"
    for task in frame.seen.failed:
        yield ""
        yield _paint(f"{cloud_of(task)} {name_of(task)} failed", COLORS["failed"])
        yield from (f"  {one_line(line)}" for line in frame.why.get(key(task), ()))


def _cell(tasks: Sequence[Mapping[str, Any]], moment: int) -> str:
    states = [task["state"] for task in tasks]
    done = states.count("success")
    counted = f"{done}/{len(states) - states.count('skipped') - states.count('removed')}"
    spent = seconds(sum(task.get("duration") or 0 for task in tasks if task["state"] in ENDED))
    if any(state in BAD for state in states):
        kind, text = ("failed", "✗ failed") if "failed" in states else ("waits", "- not started")
    elif ASKS in states:
        kind, text = "asks", "? asks"
    elif any(state in ("running", "up_for_retry", "deferred", "restarting") for state in states):
        kind, text = "running", f"{FRAMES[moment % len(FRAMES)]} {counted}"
    elif done and all(state in ("success", "skipped", "removed") for state in states):
        kind, text = "done", f"✓ {done}, {spent}"
    elif states and all(state in ("skipped", "removed") for state in states):
        kind, text = "waits", "-"
    else:
        kind, text = "waits", f"· {counted}" if done else "·" if states else ""
    return _paint(f"{text:{CELL}}", COLORS[kind])


def _asked(frame: Frame, task: Mapping[str, Any]) -> str:
    for question in frame.seen.questions:
        if key(question["task_instance"]) == key(task):
            return one_line(question["subject"])
    return "waits for an answer"


def _paint(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m"


def _cut(line: str, width: int) -> str:
    """The line, so short that the terminal does not wrap it."""
    if len(_SGR.sub("", line)) <= width:
        return line
    kept, room = "", width
    for part in re.split(r"(\x1b\[[0-9;]*m)", line):
        if _SGR.fullmatch(part):
            kept += part
        else:
            kept, room = kept + part[:room], room - min(len(part), room)
    return kept


def _size() -> tuple[int, int]:
    import shutil

    size = shutil.get_terminal_size((100, 40))
    return size.columns, size.lines
