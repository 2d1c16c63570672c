"""Acknowledges webhook deliveries that carry the shared token (an Azure function)."""

import hmac
import json
import logging
import os

import azure.functions as func  # noqa: TID253

log = logging.getLogger()
log.setLevel(os.environ.get("LOG_LEVEL", "info").upper())

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route(route="webhook", methods=["POST"])
def webhook(req: func.HttpRequest) -> func.HttpResponse:
    token = os.environ.get("TOKEN", "")
    if not token or not hmac.compare_digest(req.headers.get("authorization", ""), f"Bearer {token}"):
        return _answer(401, {"error": "a valid bearer token is required"})
    data = req.get_body()
    log.info("delivery of %d bytes", len(data))
    return _answer(202, {"received": len(data)})


@app.event_hub_message_trigger(
    arg_name="event",
    connection="EVENTS",
    event_hub_name="%EVENTS__eventHubName%",
    consumer_group="%EVENTS__consumerGroup%",
)
def events(event: func.EventHubEvent) -> None:
    log.info("event of %d bytes", len(event.get_body()))


@app.route(route="heartbeat", methods=["POST"])
def heartbeat(req: func.HttpRequest) -> func.HttpResponse:
    log.info("called by the schedule")
    return _answer(200, {"status": "ok"})


@app.route(route="healthz", methods=["GET"])
def healthz(req: func.HttpRequest) -> func.HttpResponse:
    return _answer(200, {"status": "ok"})


def _answer(status: int, body: dict[str, object]) -> func.HttpResponse:
    return func.HttpResponse(json.dumps(body), status_code=status, mimetype="application/json")
