"""YAML text -> data, with the place of every key and value, and the problems of the text itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

# libyaml is many times as fast; not every build of PyYAML has it.
_FastLoader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Location = tuple[str | int, ...]
"""Keys and indexes from the top: ``("clouds", "aws", "stacks", "network", "after", 0)``."""


class Problem(NamedTuple):
    """One thing that is wrong, and where. ``line`` and ``column`` count from 1."""

    file: str
    line: int
    column: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.file}:{self.line}:{self.column}: {self.message}{hint}"


class Document:
    """One YAML file. ``data`` is None where the text cannot be read; ``problems`` says why."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.data: Any = None
        self._lines = text.splitlines()
        self._root: yaml.Node | None = None
        try:
            self._read(text)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self.problems.append(self._at(mark, f"not valid YAML: {error.problem or error.context}"))
        except yaml.YAMLError as error:
            self.problems.append(Problem(file, 1, 1, f"not valid YAML: {' '.join(str(error).split())}"))

    @classmethod
    def of(cls, path: Path) -> Document:
        """The document in a file; a file that cannot be read gives a document with that problem."""
        try:
            return cls(str(path), path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            document = cls(str(path), "")
            document.problems = [Problem(str(path), 1, 1, f"cannot be read: {reason}")]
            return document

    def problem(
        self,
        location: Sequence[str | int],
        message: str,
        hint: str = "",
        *,
        on_key: bool = False,
        part: str = "",
    ) -> Problem:
        """A problem at a value (or at its key); ``part`` points at a piece of text inside the value.

        Trailing elements of ``location`` that the document does not have are left out.
        """
        key, value = self._find(location)
        node = key if on_key and key else value or key
        mark = node.start_mark if node else None
        found = self._at(mark, message, hint)
        offset = self._lines[found.line - 1].find(part, found.column - 1) if part and self._lines else -1
        return found if offset < 0 else Problem(self.file, found.line, offset + 1, message, hint)

    def _read(self, text: str) -> None:
        try:
            self._construct(_FastLoader(text))
        except yaml.YAMLError:  # the Python loader says better what is wrong, and the same everywhere
            self.problems.clear()
            self._construct(yaml.SafeLoader(text))

    def _construct(self, loader: Any) -> None:
        try:
            self._root = loader.get_single_node()
            if self._root is None:
                self.problems.append(Problem(self.file, 1, 1, "the file is empty"))
                return
            self.problems.extend(self._inspect(self._root, ()))
            if not any("holds itself" in problem.message for problem in self.problems):
                self.data = loader.construct_document(self._root)
        finally:
            loader.dispose()

    def _inspect(self, node: yaml.Node, parents: tuple[yaml.Node, ...]) -> Iterator[Problem]:
        """Keys written twice, and aliases that hold themselves."""
        if any(node is parent for parent in parents):
            yield self._at(node.start_mark, "this value holds itself through an alias")
            return
        if isinstance(node, yaml.SequenceNode):
            for item in node.value:
                yield from self._inspect(item, (*parents, node))
        elif isinstance(node, yaml.MappingNode):
            seen: dict[str, int] = {}
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if key.value in seen and key.value != "<<":
                        first = f"first written in line {seen[key.value]}"
                        yield self._at(key.start_mark, f"'{key.value}' is written twice", first)
                    seen.setdefault(key.value, key.start_mark.line + 1)
                yield from self._inspect(value, (*parents, node))

    def _find(self, location: Sequence[str | int]) -> tuple[yaml.Node | None, yaml.Node | None]:
        key: yaml.Node | None = None
        node = self._root
        for step in location:
            found = _child(node, step)
            if found is None:
                break
            key, node = found[0] or key, found[1]
        return key, node

    def _at(self, mark: yaml.Mark | None, message: str, hint: str = "") -> Problem:
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        return Problem(self.file, line, column, message, hint)


def mapping(data: Any, *path: str) -> Mapping[str, Any]:
    """The mapping at a place of plain data, empty where there is none."""
    for step in path:
        data = data.get(step) if isinstance(data, Mapping) else None
    return data if isinstance(data, Mapping) else {}


def _child(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node | None, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == str(step):
                return key, value
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return None, node.value[step]
    return None


def names(body: Any, key: str) -> list[str]:
    """The list of texts at a key, empty where there is none."""
    value = mapping(body).get(key)
    return [str(item) for item in value] if isinstance(value, list) else []


def closest(word: str, known: Iterable[str]) -> str:
    """A hint at what was probably meant, empty if nothing is near."""
    from difflib import get_close_matches

    matches = get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f"did you mean '{matches[0]}'?" if matches else ""
