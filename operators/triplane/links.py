"""What all links from a task to somewhere else share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperatorLink
from airflow.sdk.execution_time.xcom import XCom

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator


class UrlLink(BaseOperatorLink):
    """An address that the task pushes as the XCom ``key``."""

    key: ClassVar[str]

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """The address, empty until the task has pushed one."""
        return str(XCom.get_value(ti_key=ti_key, key=self.key) or "")
