"""The images that a Dockerfile builds on: found, resolved to digests, and pinned.

A pinned Dockerfile builds on exactly what its key says, whichever builder runs it, and when.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from triplane.core.errors import InputError, ToolError, TransientError
from triplane.core.store import ArtifactStore
from triplane.images.reference import Reference
from triplane.images.registries import Registry, is_transient

_SPACE = r"(?:[ \t]|\\[ \t]*\n)+"
_FROM = re.compile(
    rf"\s*FROM{_SPACE}(?:--\S+{_SPACE})*(?P<image>[^\s\\]+)(?:{_SPACE}AS{_SPACE}(?P<name>\S+))?", re.I
)
_COPY_FROM = re.compile(r"(?<=\s)--from=(?P<image>[^\s\\]+)")
_MOUNT_FROM = re.compile(r"(?<=\s)--mount=(?:[^\s,]+,)*from=(?P<image>[^\s,\\]+)")
_ARG = re.compile(r"\s*ARG\s+(?P<name>\w+)(?:=(?P<value>\"[^\"]*\"|'[^']*'|\S*))?", re.I)
_VARIABLE = re.compile(r"\$(?:(?P<plain>\w+)|\{(?P<name>\w+)(?::(?P<kind>[-+])(?P<other>[^}]*))?\})")
_HEREDOC = re.compile(r"<<-?[\"']?(?P<end>[A-Za-z_]\w*)[\"']?")
_WORD = re.compile(r"\s*(\w+)")


@dataclass(frozen=True)
class Base:
    """An image from outside at ``start:end`` of the Dockerfile; ``reference`` is None where an ARG hides it."""

    start: int
    end: int
    written: str
    reference: Reference | None


def bases(dockerfile: str, args: Mapping[str, str]) -> list[Base]:
    """What FROM, ``COPY --from`` and ``RUN --mount=from`` name, stages and ``scratch`` left out.

    :raises InputError: a name is not an image reference
    """
    found: list[Base] = []
    stages: set[str] = set()
    known: dict[str, str] = {}
    begun = False
    for start, text in _instructions(dockerfile):
        word = _WORD.match(text)
        kind = word[1].upper() if word else ""
        if kind == "ARG" and not begun and (arg := _ARG.match(text)):
            default = _expand((arg["value"] or "").strip("\"'"), known) or ""
            known[arg["name"]] = args.get(arg["name"], default)
        elif kind == "FROM" and (match := _FROM.match(text)):
            begun = True
            found += _outside(match, start, _expand(match["image"].strip("\"'"), known), stages)
            stages |= {match["name"].lower()} if match["name"] else set()
        elif kind in ("COPY", "ADD"):
            for match in _COPY_FROM.finditer(text):
                found += _outside(match, start, match["image"], stages)
        elif kind == "RUN":
            for match in _MOUNT_FROM.finditer(text):
                found += _outside(match, start, match["image"], stages)
    return found


def pin(dockerfile: str, args: Mapping[str, str], resolve: Callable[[Reference], str]) -> str:
    """The Dockerfile with every image from outside named by the digest that ``resolve`` gives, each asked once."""
    digests: dict[Reference, str] = {}
    for base in reversed(bases(dockerfile, args)):
        if base.reference is None or base.reference.digest:
            continue
        if base.reference not in digests:
            digests[base.reference] = resolve(base.reference)
        pinned = base.reference.at(digests[base.reference])
        dockerfile = f"{dockerfile[: base.start]}{pinned}{dockerfile[base.end :]}"
    return dockerfile


def with_labels(dockerfile: str, labels: Mapping[str, str]) -> str:
    """The Dockerfile with labels on its last stage."""
    lines = [f"LABEL {_quoted(name)}={_quoted(value)}" for name, value in sorted(labels.items())]
    return "\n".join([dockerfile.rstrip("\n"), *lines, ""])


class Digests:
    """Finds the digest that a base image has now, and remembers it in the artifact store.

    Where the registry cannot be reached, the remembered one is taken, and ``log`` told so.
    """

    def __init__(self, registry: Registry, store: ArtifactStore, log: Callable[[str], None]) -> None:
        self._registry = registry
        self._store = store
        self._log = log

    def __call__(self, reference: Reference) -> str:
        """:raises InputError: there is no such image
        :raises TransientError: the registry does not answer, and nothing is remembered
        """
        name = f"base/{reference}"
        try:
            found = self._registry.digest(reference)
        except ToolError as error:
            if not is_transient(error):
                raise
            known = self._store.get_named(name)
            if known is None:
                raise TransientError(
                    f"the base image {reference} could not be looked up: {error.stderr.strip()}"
                ) from error
            self._log(f"{reference} could not be looked up, {known.decode()} as it was last: {error}")
            return known.decode()
        if found is None:
            raise InputError(f"the base image {reference} does not exist; correct the Dockerfile")
        self._store.put_named(name, found.encode())
        self._log(f"{reference} is {found}")
        return found


def _outside(match: re.Match[str], start: int, image: str | None, stages: set[str]) -> Iterator[Base]:
    written = match["image"]
    if image is not None and (image.lower() in stages or image.lower() == "scratch" or image.isdigit()):
        return
    reference = Reference.parse(image) if image and "$" not in image else None
    yield Base(start + match.start("image"), start + match.end("image"), written, reference)


def _instructions(text: str) -> Iterator[tuple[int, str]]:
    """Each instruction with its place; comments, and what stands in a heredoc, are none."""
    at, begun, piece, ends = 0, 0, "", list[str]()
    for line in text.splitlines(keepends=True):
        start, at = at, at + len(line)
        if ends:
            if line.strip() == ends[0]:
                ends.pop(0)
            continue
        if line.lstrip().startswith("#") or (not line.strip() and not piece):
            # Comments between continued lines count for nothing, but keep their length.
            piece += " " * (len(line) - 1) + "\n" if piece else ""
            continue
        begun = begun if piece else start
        piece += line
        if line.rstrip().endswith("\\"):
            continue
        yield begun, piece
        word = _WORD.match(piece)
        if word and word[1].upper() in ("RUN", "COPY", "ADD"):
            named = (match["end"] for match in _HEREDOC.finditer(piece))
            ends = [end for end in named if re.search(rf"^\s*{end}\s*$", text[at:], re.M)]
        piece = ""
    if piece:
        yield begun, piece


def _expand(text: str, known: Mapping[str, str]) -> str | None:
    """``text`` with its variables replaced; None where one of them has no value here."""
    missing = False

    def value(match: re.Match[str]) -> str:
        nonlocal missing
        found = known.get(match["plain"] or match["name"])
        if match["kind"] == "-":
            return found or match["other"]
        if match["kind"] == "+":
            return match["other"] if found else ""
        missing = missing or not found
        return found or ""

    expanded = _VARIABLE.sub(value, text)
    return None if missing else expanded


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("\n", " ")
    return f'"{escaped}"'
