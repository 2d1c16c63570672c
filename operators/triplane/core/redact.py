"""Takes secrets out of everything that people or files get to see."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

MASK = "***"

_SHAPES = (
    re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"),
    re.compile(r"\bya29\.[\w.-]{10,}"),
    re.compile(r"\bgh[pousr]_\w{20,}\b"),
    re.compile(r"\bgithub_pat_\w{20,}\b"),
    re.compile(r"\bglpat-[\w-]{20,}"),
    re.compile(r"\bAIza[\w-]{35}"),
    re.compile(r"\bhv[sbr]\.[\w-]{20,}"),
    re.compile(r"\bxox[abprs]-[\w-]{10,}"),
    re.compile(r"(?i)(?<=\baccountkey=)[\w+/]{20,}={0,2}"),
    re.compile(r"(?i)(?<=[?&]sig=)[\w%+/-]{20,}={0,2}"),
    re.compile(r"(?i)(?<=\bauthorization: basic )[\w+/]{4,}={0,2}"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.S),
    re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"),
)
_ASSIGNMENT = re.compile(
    r"""(?ix) (\b[\w.-]*(?:password|passwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key)\b
        ["']? \s* [:=] \s* (?:bearer\s+)? ["']?) (?!\*\*\*|\$\{|null\b|true\b|false\b|\(sensitive)
        ([^\s"',;}]{4,})"""
)
_SECRET_NAME = re.compile(
    r"(?i)(password|passwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential)"
)


def is_secret_name(name: str) -> bool:
    """Whether what is called so is a secret by its name."""
    return _SECRET_NAME.search(name) is not None


class Redactor:
    """Replaces known secrets and common secret shapes by ``***``.

    Values shorter than four characters are not searched for: they would blank out ordinary text.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {part for secret in secrets for part in (secret, *secret.splitlines()) if len(part) >= 4}
        self._known = sorted(known, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._known:
            text = text.replace(secret, MASK)
        for shape in _SHAPES:
            text = shape.sub(MASK, text)
        return _ASSIGNMENT.sub(rf"\1{MASK}", text)

    def value(self, value: Any, name: str = "") -> Any:
        """``value`` with every string redacted, and those under a secret's name masked whole."""
        if isinstance(value, Mapping):
            return {key: self.value(item, str(key)) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item, name) for item in value]
        if isinstance(value, str):
            return MASK if value and is_secret_name(name) else self(value)
        return value
