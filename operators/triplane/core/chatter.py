"""Libraries that write more into a task's log than anybody wants to read."""

from __future__ import annotations

import logging


def quiet_azure() -> None:
    """No line for every request, with all its headers, unless somebody's logging configuration asks for them."""
    for name in ("azure.core.pipeline.policies.http_logging_policy", "azure.identity"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.WARNING)
