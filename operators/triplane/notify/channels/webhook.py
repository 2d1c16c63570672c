"""Any HTTP endpoint that takes JSON, through Airflow's HTTP connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triplane.notify.channels import TIMEOUT, connection
from triplane.notify.text import Rendered, bounded, octets

TEXT = 200_000
"""Bytes of the text."""


def send(options: Mapping[str, Any], message: Rendered, anchor: str) -> str:
    """``connection``: its host is the URL; its login and password, and its extra as headers, are sent."""
    text = bounded(message.text, TEXT, size=octets)
    headers = {"Idempotency-Key": message.to_json()["id"]}
    post(options["connection"], {**message.to_json(), "text": text}, headers)
    return ""


def post(conn_id: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
    """POST JSON to the URL of a connection. :raises AirflowException: it is refused"""
    from airflow.providers.http.hooks.http import HttpHook

    connection(conn_id)
    answer = HttpHook(http_conn_id=conn_id).run(
        json=dict(body),
        headers=dict(headers or {}),
        extra_options={"timeout": TIMEOUT, "allow_redirects": False},
    )
    delivered(answer)


def delivered(answer: Any) -> None:
    """:raises requests.HTTPError: it was not taken: an error, or a redirect, which a POST does not follow"""
    import requests

    if not 200 <= answer.status_code < 300:
        where = answer.url.partition("?")[0]
        raise requests.HTTPError(f"{answer.status_code} {answer.text[:300]} for {where}", response=answer)
