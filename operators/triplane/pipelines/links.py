"""The link from a task to its pipeline's run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink
from airflow.sdk.execution_time.xcom import XCom

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator

RUN_URL = "pipeline_url"


class PipelineLink(BaseOperatorLink):
    """The run, where the system shows it."""

    name = "Pipeline"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """The address, empty until the run was started."""
        return str(XCom.get_value(ti_key=ti_key, key=RUN_URL) or "")
