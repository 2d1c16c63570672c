"""Acknowledges webhook deliveries that carry the shared token (a Lambda function URL)."""

import base64
import hmac
import json
import logging
import os

log = logging.getLogger()
log.setLevel(os.environ.get("LOG_LEVEL", "info").upper())


def handler(event, context):
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    expected = f"Bearer {os.environ.get('TOKEN', '')}"
    if not os.environ.get("TOKEN") or not hmac.compare_digest(headers.get("authorization", ""), expected):
        return _answer(401, {"error": "a valid bearer token is required"})
    body = event.get("body") or ""
    data = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
    log.info("delivery of %d bytes", len(data))
    return _answer(202, {"received": len(data)})


def _answer(status, body):
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json"},
        "body": json.dumps(body),
    }
