"""What each test run tries of what the campaigns try in full."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def few(values: Iterable[Any], kept: Collection[Any]) -> list[Any]:
    """For ``parametrize``: those that are ``kept``; the others are of the campaigns."""
    return [value if value in kept else pytest.param(value, marks=pytest.mark.campaign) for value in values]
