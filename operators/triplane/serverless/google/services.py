"""Where a Cloud Run service answers; a Cloud Function (2nd gen) is one of the same name."""

from __future__ import annotations

from typing import Any

from triplane.serverless.rest import Api
from triplane.serverless.target import UNKNOWN


def url_of(run: Api, parent: str, name: str) -> Any:
    """The URL, ``UNKNOWN`` before the service is deployed. ``parent`` is ``projects/P/locations/L``."""
    found = run.get(f"v2/{parent}/services/{name}")
    return UNKNOWN if not found or not found.get("uri") else str(found["uri"])
