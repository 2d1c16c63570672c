"""Prometheus, a cloud's managed one included.

Query: ``{"query": PromQL, "url", "connection", "cloud", "region"}``. Without ``cloud`` the connection, one of Airflow's type
``http``, says where it is unless ``url`` does; its login and password are used, or the password alone as a bearer token.
With ``cloud`` it is that cloud's connection: Amazon's takes signatures for ``region``, Google's and Azure's take tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from triplane.core.errors import InputError
from triplane.gates.check import Reading
from triplane.gates.rest import Headers, ask

AZURE_SCOPE = "https://prometheus.monitor.azure.com/.default"


class Source:
    """Asks one instant query."""

    def __init__(self, query: Mapping[str, Any]) -> None:
        self._query = query
        self._session, self._headers, self._base = connect(query)

    def read(self, at: float) -> Reading:
        """One value for each series at a moment; NaN, as of 0/0, is no value."""
        answer = ask(
            self._session,
            "POST",
            f"{self._base}/api/v1/query",
            form={"query": self._query["query"], "time": f"{at:.3f}"},
            headers=self._headers,
            who=str(self._query.get("connection") or "the gate"),
        )
        return parse(answer)


def parse(answer: Any) -> Reading:
    """What ``/api/v1/query`` answers. :raises InputError: a result that is no vector and no scalar"""
    if answer.get("status") != "success":
        raise InputError(f"Prometheus: {answer.get('errorType')}: {answer.get('error')}; correct the gate")
    data = answer["data"]
    match data["resultType"]:
        case "vector":
            found = [item["value"][1] for item in data["result"]]
        case "scalar":
            found = [data["result"][1]]
        case other:
            raise InputError(f"the query gives a {other}; a gate needs one value a series")
    values = tuple(value for value in map(float, found) if not math.isnan(value))
    return Reading(values=values, text="" if values else "the query gives no value")


def connect(query: Mapping[str, Any]) -> tuple[Any, Headers | None, str]:
    """A session, what authenticates, and the base URL."""
    import requests

    cloud, conn_id, url = query.get("cloud"), query.get("connection"), query.get("url")
    if cloud is None:
        session = requests.Session()
        if conn_id:
            url = _login(session, str(conn_id), url)
        if not url:
            raise InputError("a Prometheus needs `url` or `connection`")
        return session, None, str(url).rstrip("/")
    if not (url and conn_id):
        raise InputError("a managed Prometheus needs `url` and `connection`")
    base = str(url).rstrip("/")
    match cloud:
        case "aws":
            return requests.Session(), _signature(str(conn_id), query.get("region")), base
        case "gcp":
            from triplane.clouds import gcp

            return gcp.session(str(conn_id)), None, base
        case "azure":
            from triplane.clouds import azure

            tokens = azure.tokens(str(conn_id), AZURE_SCOPE)
            return requests.Session(), lambda *_: {"Authorization": f"Bearer {tokens()}"}, base
    raise InputError(f"{cloud!r} is none of aws, gcp, azure")


def _login(session: Any, conn_id: str, url: Any) -> str:
    from airflow.sdk import BaseHook

    from triplane.settings import register_secret

    found = BaseHook.get_connection(conn_id)
    if found.password:
        register_secret(found.password)
    if found.login:
        session.auth = (found.login, found.password or "")
    elif found.password:
        session.headers["Authorization"] = f"Bearer {found.password}"
    if url:
        return str(url)
    if not found.host:
        raise InputError(f"connection {conn_id} has no host")
    if "://" in found.host:
        return str(found.host)
    port = f":{found.port}" if found.port else ""
    return f"{found.schema or 'https'}://{found.host}{port}"


def _signature(conn_id: str, region: str | None) -> Headers:
    """Signature version 4 for Amazon Managed Service for Prometheus; an assumed role is renewed by boto3."""
    from triplane.clouds import aws

    session = aws.session(conn_id, region)
    place = region or session.region_name
    if not place:
        raise InputError(f"connection {conn_id} names no region; give `region`")

    def headers(verb: str, url: str, body: bytes) -> Mapping[str, str]:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        held = session.get_credentials()
        if held is None:
            raise InputError(f"connection {conn_id} holds no AWS credentials")
        content = {"Content-Type": "application/x-www-form-urlencoded"}
        request = AWSRequest(method=verb, url=url, data=body, headers=content)
        SigV4Auth(held.get_frozen_credentials(), "aps", place).add_auth(request)
        return dict(request.headers.items())

    return headers
