"""A real Prometheus, and a real Pushgateway that it reads every second.

Ports ``prometheus`` and ``pushgateway``. A test writes series by pushing them.
"""

from __future__ import annotations

import json
import urllib.request

import yaml

from triplane.sandbox.service import Context, Route, Service

SCRAPE_SECONDS = 1


class MonitoringPart:
    """Debian's prometheus and prometheus-pushgateway."""

    name = "monitoring"

    def prepare(self, ctx: Context) -> None:
        home = ctx.home / "monitoring"
        home.mkdir(mode=0o700)
        jobs = [
            {
                "job_name": name,
                "honor_labels": True,
                "static_configs": [{"targets": [f"127.0.0.1:{ctx.port(name)}"]}],
            }
            for name in ("prometheus", "pushgateway")
        ]
        config = {
            "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "scrape_timeout": f"{SCRAPE_SECONDS}s"},
            "scrape_configs": jobs,
        }
        (home / "prometheus.yaml").write_text(yaml.safe_dump(config))

    def services(self, ctx: Context) -> list[Service]:
        home = ctx.home / "monitoring"
        return [
            Service(
                name="prometheus",
                argv=(
                    "prometheus",
                    f"--config.file={home / 'prometheus.yaml'}",
                    f"--storage.tsdb.path={home / 'data'}",
                    f"--web.listen-address=127.0.0.1:{ctx.port('prometheus')}",
                    "--storage.tsdb.retention.time=2h",
                    "--log.level=warn",
                ),
                ready=lambda: _ready(ctx.port("prometheus")),
            ),
            Service(
                name="pushgateway",
                argv=(
                    "prometheus-pushgateway",
                    f"--web.listen-address=127.0.0.1:{ctx.port('pushgateway')}",
                    "--log.level=warn",
                ),
                ready=lambda: _ready(ctx.port("pushgateway")),
            ),
        ]

    def routes(self, ctx: Context) -> list[Route]:
        return []

    def environ(self, ctx: Context) -> dict[str, str]:
        return {
            f"AIRFLOW_CONN_{name.upper()}_DEFAULT": json.dumps(
                {"conn_type": "http", "host": "127.0.0.1", "port": ctx.port(name), "schema": "http"}
            )
            for name in ("prometheus", "pushgateway")
        }

    def seed(self, ctx: Context) -> None:
        """Nothing: what is there before the first deployment are the two's own metrics."""


def _ready(port: int) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/-/ready", timeout=5) as answer:
        return bool(answer.status == 200)


PART = MonitoringPart()
