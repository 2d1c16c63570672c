"""Ratios measured within one run, so that they mean the same on a slow machine: ``bench NAME RATIO LIMIT``.

Exits 1 if a ratio is over its limit.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DAGS = sorted((ROOT / "dags").glob("*.py"))
EXAMPLE = ROOT / "examples" / "streaming-platform" / "platform.yaml"
ROUNDS = 7

PARSE = """
import sys, time, json, runpy
import airflow.sdk
start = time.perf_counter()
dags = [runpy.run_path(path)["dag"] for path in sys.argv[2:]]
seconds = time.perf_counter() - start
graph = [
    {"id": dag.dag_id, "tasks": [[t.task_id, sorted(t.downstream_task_ids)] for t in dag.tasks]}
    for dag in dags if dag
]
json.dump({"seconds": seconds, "graph": graph}, open(sys.argv[1], "w"))
"""

EMPTY = """
import sys, time, json
import airflow.sdk
graph = json.load(open(sys.argv[2]))
start = time.perf_counter()
from airflow.sdk import DAG
from airflow.providers.standard.operators.empty import EmptyOperator
for item in graph:
    with DAG(item["id"], schedule=None) as dag:
        tasks = {name: EmptyOperator(task_id=name) for name, _ in item["tasks"]}
        for name, downstream in item["tasks"]:
            for other in downstream:
                tasks[name].set_downstream(tasks[other])
seconds = time.perf_counter() - start
json.dump({"seconds": seconds}, open(sys.argv[1], "w"))
"""


def main() -> int:
    """Run every bench and print one line each."""
    with tempfile.TemporaryDirectory(prefix="triplane-bench-") as scratch:
        benches = [("dag_parse", dag_parse(Path(scratch)), 2.5)]
    for name, ratio, limit in benches:
        print(f"bench {name} {ratio:.2f} {limit:.2f}")
    return int(any(ratio > limit for _, ratio, limit in benches))


def dag_parse(scratch: Path) -> float:
    """All DAG files against the same task graphs of EmptyOperators, each in a fresh process."""
    ours, empty = [], []
    _python(scratch, PARSE, *map(str, DAGS))
    for _ in range(ROUNDS):
        parsed = _python(scratch, PARSE, *map(str, DAGS))
        graph = scratch / "graph.json"
        graph.write_text(json.dumps(parsed["graph"]))
        ours.append(parsed["seconds"])
        empty.append(_python(scratch, EMPTY, str(graph))["seconds"])
    return statistics.median(ours) / statistics.median(empty)


def _python(scratch: Path, code: str, *args: str) -> Any:
    result = scratch / "result.json"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env |= {
        "AIRFLOW_HOME": str(scratch / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__TRIPLANE__PLATFORM": str(EXAMPLE),
    }
    subprocess.run([sys.executable, "-c", code, str(result), *args], env=env, check=True, capture_output=True)
    return json.loads(result.read_text())


if __name__ == "__main__":
    sys.exit(main())
