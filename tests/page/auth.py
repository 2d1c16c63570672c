"""An auth manager that knows permissions for single DAGs, as those for production do."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

READS = {"vera": {"deploy_gcp"}}
"""User -> the only DAGs that he may read; the others may read all."""


class PerDag(SimpleAuthManager):
    """The simple one, with users who may read a few DAGs only."""

    def is_authorized_dag(self, *, user: Any, details: Any = None, **asked: Any) -> bool:
        """What the role allows, for the DAGs of the user."""
        only = READS.get(user.get_name())
        named = details.id if details else None
        if only is not None and named is not None and named not in only:
            return False
        return bool(super().is_authorized_dag(user=user, details=details, **asked))
