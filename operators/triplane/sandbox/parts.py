"""The parts of the sandbox, in the order in which their services start."""

from __future__ import annotations

import importlib
from collections.abc import Iterable

from triplane.sandbox.service import Part

PARTS = {
    "registry": "triplane.sandbox.registry",
    "aws": "triplane.sandbox.aws",
    "gcp": "triplane.sandbox.gcp",
    "azure": "triplane.sandbox.azure",
    "forges": "triplane.sandbox.forges",
    "kubernetes": "triplane.sandbox.kubernetes",
    "machines": "triplane.sandbox.machines",
    "terraform": "triplane.sandbox.terraform",
    "monitoring": "triplane.sandbox.monitoring",
}


def load(names: Iterable[str] | None = None) -> list[Part]:
    """The parts called ``names`` (default: all), in registry order. KeyError for an unknown name."""
    wanted = list(PARTS) if names is None else list(names)
    if unknown := [name for name in wanted if name not in PARTS]:
        raise KeyError(f"no sandbox part {', '.join(unknown)}; there are: {', '.join(PARTS)}")
    return [importlib.import_module(PARTS[name]).PART for name in PARTS if name in wanted]
