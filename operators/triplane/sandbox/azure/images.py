"""Whether an image is in the sandbox's container registries."""

from __future__ import annotations

import re
import urllib.error
import urllib.request

from triplane.sandbox.azure.errors import ArmError

IMAGE = re.compile(
    r"[a-z0-9]+\.azurecr\.io/(?P<name>[^:@]+)(:(?P<tag>[\w.-]+))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)
MANIFESTS = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        *("oci.image.manifest.v1", "oci.image.index.v1"),
        *("docker.distribution.manifest.v2", "docker.distribution.manifest.list.v2"),
    )
)


def found(registry: str, image: str) -> bool:
    """``registry`` is the URL of the OCI registry that holds them; without one, every image is there."""
    parts = IMAGE.fullmatch(image)
    if parts is None or not registry:
        return parts is not None
    reference = parts["digest"] or parts["tag"] or "latest"
    url = f"{registry}/v2/{parts['name']}/manifests/{reference}"
    request = urllib.request.Request(url, method="HEAD", headers={"Accept": MANIFESTS})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as response:
            return bool(response.status == 200)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return False
        raise ArmError(503, "ServiceUnavailable", f"the registry answered {error.code}") from error
    except OSError as error:
        raise ArmError(503, "ServiceUnavailable", f"the registry cannot be reached: {error}") from error
