"""What a deployer may do in a cluster: everything a chart needs, nothing about nodes or other people."""

from __future__ import annotations

from collections.abc import Iterator

from triplane.sandbox.kubernetes.api import Object
from triplane.sandbox.kubernetes.cluster import DEPLOYERS

NAME = "triplane-deployer"
RBAC = "rbac.authorization.k8s.io"
CORE = (
    *("configmaps", "endpoints", "events", "persistentvolumeclaims", "pods", "pods/log", "secrets"),
    *("serviceaccounts", "services"),
)
GROUPS = ("apps", "batch", "autoscaling", "policy", "networking.k8s.io", "discovery.k8s.io")


def deployer_rbac() -> Iterator[tuple[str, Object]]:
    """The role of the deployers' group and its binding: (API path of the collection, object)."""
    role: Object = {
        "metadata": {"name": NAME},
        "rules": [
            {
                "apiGroups": [""],
                "resources": ["namespaces"],
                "verbs": ["get", "list", "watch", "create", "patch"],
            },
            {"apiGroups": [""], "resources": list(CORE), "verbs": ["*"]},
            {"apiGroups": [""], "resources": ["resourcequotas"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": list(GROUPS), "resources": ["*"], "verbs": ["*"]},
            {"apiGroups": [RBAC], "resources": ["roles", "rolebindings"], "verbs": ["*"]},
        ],
    }
    binding: Object = {
        "metadata": {"name": NAME},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": NAME},
        "subjects": [{"apiGroup": RBAC, "kind": "Group", "name": DEPLOYERS}],
    }
    yield f"/apis/{RBAC}/v1/clusterroles", role
    yield f"/apis/{RBAC}/v1/clusterrolebindings", binding
