"""One look at a URL."""

from __future__ import annotations

import urllib.error
import urllib.request
from datetime import UTC, datetime
from http.client import HTTPException

from triplane.gates.verdict import Sample

MOST_BYTES = 1_000_000


def look(url: str, *, status: int = 200, contains: str = "", timeout: float = 10.0) -> Sample:
    """Whether ``url`` answers with this status and a text that holds ``contains``; None where nothing answers.

    :param timeout: seconds
    """
    at = datetime.now(UTC).isoformat(timespec="seconds")
    request = urllib.request.Request(url, headers={"User-Agent": "triplane-gate"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            found, text = answer.status, answer.read(MOST_BYTES).decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            found, text = error.code, error.read(MOST_BYTES).decode(errors="replace")
    except (OSError, HTTPException) as error:
        return Sample(at, None, f"{url} does not answer: {error}")
    if found != status:
        return Sample(at, False, f"{url} answers {found}, not {status}")
    if contains not in text:
        return Sample(at, False, f"{url} answers {found} without {contains!r}")
    return Sample(at, True, f"{url} answers {found}")
