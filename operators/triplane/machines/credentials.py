"""The names under which Ansible's collections and the clouds' command lines look for what Terraform's providers take."""

from __future__ import annotations

from collections.abc import Mapping

ALSO = {
    "GOOGLE_OAUTH_ACCESS_TOKEN": ("GCP_ACCESS_TOKEN", "CLOUDSDK_AUTH_ACCESS_TOKEN"),
    "GOOGLE_PROJECT": ("GCP_PROJECT", "CLOUDSDK_CORE_PROJECT"),
    "ARM_CLIENT_ID": ("AZURE_CLIENT_ID",),
    "ARM_CLIENT_SECRET": ("AZURE_SECRET",),
    "ARM_TENANT_ID": ("AZURE_TENANT",),
    "ARM_SUBSCRIPTION_ID": ("AZURE_SUBSCRIPTION_ID",),
}


def as_ansible(env: Mapping[str, str]) -> dict[str, str]:
    """``env`` and the same under the other names: ``google.cloud`` is told to take the token."""
    more = {other: value for name, value in env.items() for other in ALSO.get(name, ())}
    return {**env, **more, **({"GCP_AUTH_KIND": "accesstoken"} if "GCP_ACCESS_TOKEN" in more else {})}
