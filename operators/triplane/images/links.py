"""Links from a task to where its work can be watched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink
from airflow.sdk.execution_time.xcom import XCom

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator

BUILD_URL = "build_url"


class BuildLink(BaseOperatorLink):
    """The build and its log in the cloud's console."""

    name = "Build"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """The address, empty for a build on the worker."""
        return str(XCom.get_value(ti_key=ti_key, key=BUILD_URL) or "")
