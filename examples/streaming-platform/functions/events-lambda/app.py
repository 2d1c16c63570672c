"""Logs what calls it by itself: records of a Kinesis stream, and a schedule."""

import base64
import logging
import os

log = logging.getLogger()
log.setLevel(os.environ.get("LOG_LEVEL", "info").upper())


def handler(event, context):
    records = event.get("Records")
    if records is None:
        log.info("called by the schedule: %s", event)
        return {"records": 0}
    for record in records:
        data = base64.b64decode(record["kinesis"]["data"])
        log.info("record %s of %d bytes", record["eventID"], len(data))
    return {"records": len(records)}
