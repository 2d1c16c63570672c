"""Where a Cloud Run service answers; a Cloud Function (2nd gen) is one of the same name."""

from __future__ import annotations

from typing import Any

from triplane.serverless.rest import Api
from triplane.serverless.target import UNKNOWN, Unknown


def url_of(run: Api, parent: str, name: Any) -> Any:
    """The URL, ``UNKNOWN`` before the service is deployed. ``parent`` is ``projects/P/locations/L``."""
    if isinstance(name, Unknown):
        return UNKNOWN
    found = run.get(f"v2/{parent}/services/{name}")
    return UNKNOWN if not found or not found.get("uri") else str(found["uri"])


def joined(base: Any, path: Any) -> Any:
    """The URL with a path, ``UNKNOWN`` while one of them is."""
    return UNKNOWN if isinstance(base, Unknown) or isinstance(path, Unknown) else f"{base}{path or ''}"
