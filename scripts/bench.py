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
ROUNDS = 11

# Both sides start with Airflow's cron timetables imported: croniter, behind them, runs the program `file`.
START = """
import sys, time, json, runpy
import airflow.sdk
import airflow.sdk.definitions.timetables.interval
"""

PARSE = (
    START
    + """
start = time.process_time()
dags = [runpy.run_path(path)["dag"] for path in sys.argv[2:]]
seconds = time.process_time() - start
graph = [
    {
        "id": dag.dag_id,
        "schedule": dag.schedule,
        "params": {name: dag.params.get_param(name).serialize() for name in dag.params},
        "tasks": {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks},
    }
    for dag in dags if dag
]
json.dump({"seconds": seconds, "graph": graph}, open(sys.argv[1], "w"))
"""
)

EMPTY = (
    START
    + """
graph = json.load(open(sys.argv[2]))
start = time.process_time()
from airflow.sdk import DAG, Param, TaskGroup
from airflow.providers.standard.operators.empty import EmptyOperator

def build(item):
    params = {
        name: Param(param["value"], param["description"], **param["schema"])
        for name, param in item["params"].items()
    }
    with DAG(item["id"], schedule=item["schedule"], params=params) as dag:
        groups = {None: dag.task_group}
        tasks = {}
        for name, downstream in item["tasks"].items():
            prefix = name.split(".")[0] if "." in name else None
            if prefix not in groups:
                groups[prefix] = TaskGroup(prefix)
            task_id = name.partition(".")[2] if prefix else name
            tasks[name] = EmptyOperator(task_id=task_id, task_group=groups[prefix])
        for name, downstream in item["tasks"].items():
            tasks[name] >> [tasks[other] for other in downstream]
    return dag

dags = [build(item) for item in graph]
seconds = time.process_time() - start
assert all(set(dag.task_ids) == set(item["tasks"]) for dag, item in zip(dags, graph))
json.dump({"seconds": seconds}, open(sys.argv[1], "w"))
"""
)


def main() -> int:
    """Run every bench and print one line each."""
    with tempfile.TemporaryDirectory(prefix="triplane-bench-") as scratch:
        benches = [("dag_parse", dag_parse(Path(scratch)), 2.5)]
    for name, ratio, limit in benches:
        print(f"bench {name} {ratio:.2f} {limit:.2f}")
    return int(any(ratio > limit for _, ratio, limit in benches))


def dag_parse(scratch: Path) -> float:
    """All DAG files against DAGs of the same shape made of EmptyOperators, each in a fresh process.

    The same shape: tasks, their order, task groups, params and schedules. The first round, which also
    writes bytecode and caches of the machine, does not count.
    """
    ours, empty = [], []
    graph = scratch / "graph.json"
    for _ in range(ROUNDS + 1):
        parsed = _python(scratch, PARSE, *map(str, DAGS))
        graph.write_text(json.dumps(parsed["graph"]))
        ours.append(parsed["seconds"])
        empty.append(_python(scratch, EMPTY, str(graph))["seconds"])
    return statistics.median(ours[1:]) / statistics.median(empty[1:])


def _python(scratch: Path, code: str, *args: str) -> Any:
    result = scratch / "result.json"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env |= {
        "AIRFLOW_HOME": str(scratch / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__TRIPLANE__PLATFORM": str(EXAMPLE),
    }
    subprocess.run(
        [sys.executable, "-c", code, str(result), *args], env=env, check=True, stdout=subprocess.DEVNULL
    )
    return json.loads(result.read_text())


if __name__ == "__main__":
    sys.exit(main())
