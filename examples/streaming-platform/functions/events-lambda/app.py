"""Logs what calls it by itself: records of a Kinesis stream, and a schedule."""

import base64


def handler(event, context):
    records = event.get("Records")
    if records is None:
        print(f"called by the schedule: {event}")
        return {"records": 0}
    for record in records:
        data = base64.b64decode(record["kinesis"]["data"])
        print(f"record {record['eventID']} of {len(data)} bytes")
    return {"records": len(records)}
