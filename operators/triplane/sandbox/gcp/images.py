"""Whether an image is in the sandbox's Artifact Registry."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Callable, Container

from triplane.sandbox.gcp.errors import ApiError

IMAGE = re.compile(
    r"(?P<location>[a-z0-9-]+)-docker\.pkg\.dev/(?P<project>[^/]+)/(?P<repository>[^/]+)/(?P<name>[^:@]+)"
    r"(:(?P<tag>[\w.-]+))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json"
)


def finder(registry: str, repositories: Container[str]) -> Callable[[str], str | None]:
    """A function that tells the digest of an image, None when it is not there.

    ``registry`` is the URL of the OCI registry; ``repositories`` holds the names of what Artifact Registry has.
    """

    def find(image: str) -> str | None:
        parts = IMAGE.fullmatch(image)
        if parts is None:
            return None
        home = f"projects/{parts['project']}/locations/{parts['location']}/repositories/{parts['repository']}"
        if home not in repositories:
            return None
        reference = parts["digest"] or parts["tag"] or "latest"
        path = f"{parts['project']}/{parts['repository']}/{parts['name']}/manifests/{reference}"
        return _head(f"{registry}/v2/{path}")

    return find


def _head(url: str) -> str | None:
    request = urllib.request.Request(url, method="HEAD", headers={"Accept": MANIFESTS})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as response:
            return str(response.headers["Docker-Content-Digest"])
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise ApiError(503, f"the registry answered {error.code}") from error
    except OSError as error:
        raise ApiError(503, f"the registry cannot be reached: {error}") from error
