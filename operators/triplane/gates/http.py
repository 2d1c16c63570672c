"""A URL that must answer well.

Query: ``{"url", "status": 200, "contains": "", "timeout": 10}``.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any

from triplane.gates.check import Reading

MOST_BYTES = 1_000_000


class Source:
    """Looks at a URL, without a connection of Airflow's."""

    def __init__(self, query: Mapping[str, Any]) -> None:
        self._query = {"status": 200, "contains": "", "timeout": 10.0, **query}

    def read(self, at: float) -> Reading:
        """Whether it answers with this status and a text that holds ``contains``; silent where nothing answers."""
        url, status, contains = (self._query[name] for name in ("url", "status", "contains"))
        request = urllib.request.Request(url, headers={"User-Agent": "triplane-gate"})
        try:
            with urllib.request.urlopen(request, timeout=self._query["timeout"]) as answer:
                found, text = answer.status, answer.read(MOST_BYTES).decode(errors="replace")
        except urllib.error.HTTPError as error:
            with error:
                found, text = error.code, error.read(MOST_BYTES).decode(errors="replace")
        except (OSError, HTTPException) as error:
            return Reading(text=f"{url} does not answer: {error}")
        if found != status:
            return Reading(good=False, text=f"{url} answers {found}, not {status}")
        if contains not in text:
            return Reading(good=False, text=f"{url} answers {found} without {contains!r}")
        return Reading(good=True, text=f"{url} answers {found}")
