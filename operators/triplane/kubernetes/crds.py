"""CRDs of a chart brought up to date: Helm makes missing ones and never touches them again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from triplane.core.process import Command, run
from triplane.kubernetes.diff import objects
from triplane.kubernetes.kubectl import kubectl_env

MANAGER = "triplane"


def apply_args(binary: str) -> tuple[str, ...]:
    """``kubectl apply`` of standard input, on the server; what Helm made becomes ours."""
    return (
        *(binary, "apply", "--server-side", "--force-conflicts", "--field-manager", MANAGER),
        *("--filename", "-", "--request-timeout", "60s"),
    )


def wait_args(binary: str, names: list[str]) -> tuple[str, ...]:
    """``kubectl wait`` until the API serves them."""
    return (binary, "wait", "--for", "condition=Established", "--timeout", "60s", *names)


def apply(manifest: str, kubeconfig: Path, binary: str, say: Callable[[str], None]) -> None:
    """Make or update the CRDs of ``manifest`` and wait until they are served.

    :raises ToolError: the cluster refuses them
    """
    names = [f"{key.kind}.{key.group}/{key.name}" for key in objects(manifest)]
    if not names:
        return
    env = kubectl_env(kubeconfig)
    run(Command(argv=apply_args(binary), env=env, stdin=manifest.encode()), on_line=say, timeout=120)
    run(Command(argv=wait_args(binary, names), env=env), timeout=120)
