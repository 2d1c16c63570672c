"""Text from the server as a terminal may see it, and times as people read them."""

from __future__ import annotations

import re
from typing import Any

from triplane.core.redact import Redactor

WIDTH = 500
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_redact = Redactor()


def clean(text: Any, width: int | None = WIDTH) -> str:
    """One line or several, without secrets and without anything that a terminal would obey."""
    plain = _CONTROLS.sub("", _ESCAPES.sub("", _redact(str(text))).replace("\t", "    "))
    return plain if width is None or len(plain) <= width else plain[: width - 1] + "…"


def one_line(text: Any, width: int | None = WIDTH) -> str:
    """As :func:`clean`, with the line breaks taken out."""
    return clean(" ".join(str(text).split()), width)


def seconds(value: float) -> str:
    """``7 s``, ``3:05``, ``1:02:03``."""
    whole = int(value)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
