"""Failures that this process orders of the sandbox, which other test processes use too."""

from __future__ import annotations

import os

OWNER = str(os.getpid())
MINE = f"/_sandbox/faults?owner={OWNER}"
"""Where they are called off by ``DELETE``."""
