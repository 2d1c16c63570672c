"""The last lines of a log in CloudWatch Logs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

LINES: Final = 50
STREAMS: Final = 20


def last_lines(client: Any, group: str, wanted: Callable[[str], bool]) -> tuple[str, ...]:
    """Those of the newest stream whose name is ``wanted``; nothing where they cannot be had."""
    from botocore.exceptions import BotoCoreError, ClientError

    if client is None:
        return ()
    try:
        streams = client.describe_log_streams(
            logGroupName=group, orderBy="LastEventTime", descending=True, limit=STREAMS
        )["logStreams"]
        names = [each["logStreamName"] for each in streams if wanted(each["logStreamName"])]
        if not names:
            return ()
        events = client.get_log_events(logGroupName=group, logStreamName=names[0], limit=LINES)["events"]
        return tuple(event["message"].rstrip("\n") for event in events)
    except (BotoCoreError, ClientError):
        return ()
