"""The page's first view of a thousand components beside Airflow's own list of five DAGs, from the same API server."""

from __future__ import annotations

import re
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.page.server import serving

COMPONENTS, ROLLOUTS, ROUNDS = 1000, 100, 15
OUR_DATA = "/triplane/api/overview"
THEIR_DATA = "/ui/dags?dag_runs_limit=14&limit=50&offset=0&order_by=dag_display_name"
LINKED = re.compile(r'(?:src|href)="([^"]+\.(?:js|css))"')
IMPORTED = re.compile(r'from "\./([\w.-]+\.js)"')


def first_view(scratch: Path) -> Iterator[tuple[str, float, float]]:
    """Seconds and kilobytes of the first view, and both as ratios to the list of DAGs."""
    home = scratch / "page"
    home.mkdir()
    with serving(home, COMPONENTS, ROLLOUTS) as airflow:
        password = airflow.password("bob")
        with httpx.Client(base_url=airflow.url, trust_env=False, timeout=60) as client:
            answer = client.post("/auth/token", json={"username": "bob", "password": password})
            client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
            ours, theirs = _seconds(client, (OUR_DATA, THEIR_DATA))
            our_bytes = _payload(client, "/triplane/overview", OUR_DATA) + _modules(client)
            their_bytes = _payload(client, "/dags", THEIR_DATA)
    yield "page_seconds", ours, 0.3
    yield "page_to_dag_list_seconds", ours / theirs, 8.0
    yield "page_kilobytes", our_bytes / 1000, 300
    yield "page_to_dag_list_bytes", our_bytes / their_bytes, 0.3


def _seconds(client: httpx.Client, paths: Sequence[str]) -> list[float]:
    """The median of what the server takes for each, in turns, once it is warm."""
    found: dict[str, list[float]] = {path: [] for path in paths}
    for _ in range(ROUNDS + 2):
        for path, seconds in found.items():
            start = time.perf_counter()
            client.get(path).raise_for_status()
            seconds.append(time.perf_counter() - start)
    return [statistics.median(seconds[2:]) for seconds in found.values()]


def _payload(client: httpx.Client, page: str, data: str) -> int:
    """Bytes that come over the wire for a page that nothing is cached of: document, scripts, styles and data."""
    document = client.get(page)
    base = httpx.URL(page).join("." if page.startswith("/triplane") else "/")
    linked = [str(base.join(link)) for link in LINKED.findall(document.text)]
    return sum(_size(client, path) for path in (page, *linked, data))


def _modules(client: httpx.Client) -> int:
    """What the first view's script imports."""
    known: set[str] = set()
    left = {"overview.js"}
    while left:
        name = left.pop()
        known.add(name)
        left |= set(IMPORTED.findall(client.get(f"/triplane/static/{name}").text)) - known
    return sum(_size(client, f"/triplane/static/{name}") for name in known)


def _size(client: httpx.Client, path: str) -> int:
    with client.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as answer:
        answer.raise_for_status()
        return sum(map(len, answer.iter_raw()))
