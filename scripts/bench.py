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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bench_gates
import bench_page
import bench_parent
import bench_pipelines
import bench_releases
import bench_terraform
import yaml

ROOT = Path(__file__).parents[1]
DAGS = sorted((ROOT / "dags").glob("*.py"))
EXAMPLE = ROOT / "examples" / "streaming-platform" / "platform.yaml"
ROUNDS = 25

# CPU time, so that what else the machine does counts less. Airflow's cron timetables are imported before:
# croniter, behind them, runs the program `file`.
PARSE = """
import sys, time, json, runpy
import airflow.sdk
import airflow.sdk.definitions.timetables.interval

start = time.process_time()
dags = [runpy.run_path(path)["dag"] for path in sys.argv[2:]]
seconds = time.process_time() - start
shapes = [
    {
        "dag_id": dag.dag_id,
        "schedule": dag.schedule,
        "params": {name: dag.params.get_param(name).serialize() for name in dag.params},
        "groups": [name for name in dag.task_group.get_task_group_dict() if name],
        "tasks": {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks},
    }
    for dag in dags
]
json.dump({"seconds": seconds, "shapes": shapes}, open(sys.argv[1], "w"))
"""


def main() -> int:
    """Run every bench and print one line each."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)  # the tasks' own log
    bad = False
    with tempfile.TemporaryDirectory(prefix="triplane-bench-") as scratch:
        for name, ratio, limit in benches(Path(scratch)):
            print(f"bench {name} {ratio:.2f} {limit:.2f}", file=out)
            bad = bad or ratio > limit
    return int(bad)


def benches(scratch: Path) -> Iterator[tuple[str, float, float]]:
    """Name, ratio and limit, one after the other."""
    yield "dag_parse", dag_parse(scratch, EXAMPLE, ROUNDS), 2.5
    large = _large_platform(scratch, 300)
    yield "dag_parse_300", dag_parse(scratch, large, 3), 2.0
    yield "dag_parse_growth", parse_growth(scratch, _large_platform(scratch, 100), large), 1.2
    yield "gates_100", bench_gates.polling(), 1.2
    yield "pipelines_100", bench_pipelines.polling(), 1.2
    yield from bench_page.first_view(scratch)
    with bench_releases.prepared(scratch):
        seconds, image = bench_releases.unchanged_image(scratch)
        yield "unchanged_image_seconds", seconds, 1.5
        yield "unchanged_release_seconds", bench_releases.unchanged_release(image), 1.5
        yield "releases_20", bench_releases.many_releases(image), 1.3
    os.environ.update(bench_terraform.environ(scratch))
    yield "warm_plan", bench_terraform.warm_plan(scratch), 1.1
    ours_50, _ = bench_terraform.drift(scratch, 50)
    ours_200, theirs_200 = bench_terraform.drift(scratch, 200)
    yield "drift_200", ours_200 / theirs_200, 1.15
    yield "drift_growth", ours_200 / ours_50 / 4, 1.1
    yield "unchanged_run", bench_parent.unchanged_run(scratch / "parent"), 2.0


def dag_parse(scratch: Path, platform: Path, rounds: int) -> float:
    """All DAG files of a platform against DAG files of the same shape made of EmptyOperators, each in a fresh process.

    The first round, which also writes bytecode and Airflow's own caches, does not count; of the others the quickest does:
    whatever else the machine does only ever adds.
    """
    written: list[Path] = []
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(rounds + 1):
        for empty, files in ((False, DAGS), (True, written)):
            parsed = _python(scratch, platform, PARSE, *map(str, files))
            seconds[empty].append(parsed["seconds"])
            if not empty and not written:
                shapes = parsed["shapes"]
                written += [_write_empty(scratch, shape) for shape in shapes]
            assert parsed["shapes"] == shapes
    return min(seconds[False][1:]) / min(seconds[True][1:])


def parse_growth(scratch: Path, small: Path, large: Path) -> float:
    """How much longer a platform with three times the stacks and releases takes to parse, over three times."""
    seconds = {
        platform: statistics.median(
            _python(scratch, platform, PARSE, *map(str, DAGS))["seconds"] for _ in range(3)
        )
        for platform in (small, large)
    }
    return seconds[large] / seconds[small] / 3


def _write_empty(scratch: Path, shape: dict[str, Any]) -> Path:
    """A DAG file as a person would write it: the same ids, groups, edges, params and schedule."""
    names = {task: task.replace(".", "__").replace("-", "_") for task in shape["tasks"]}
    lines = [
        "from airflow.providers.standard.operators.empty import EmptyOperator",
        "from airflow.sdk import DAG, Param, TaskGroup",
        f"with DAG({shape['dag_id']!r}, schedule={shape['schedule']!r}, params={{",
        *(
            f"    {name!r}: Param({param['value']!r}, {param['description']!r}, **{param['schema']!r}),"
            for name, param in shape["params"].items()
        ),
        "}) as dag:",
    ]
    for group in (None, *shape["groups"]):
        if group:
            lines.append(f"    with TaskGroup({group!r}):")
        indent = "        " if group else "    "
        for task in shape["tasks"]:
            own = task.partition(".")[2] if "." in task else task
            if (task.split(".")[0] if "." in task else None) == group:
                lines.append(f"{indent}{names[task]} = EmptyOperator(task_id={own!r})")
    for task, downstream in shape["tasks"].items():
        if downstream:
            lines.append(f"    {names[task]} >> [{', '.join(names[other] for other in downstream)}]")
    path = scratch / f"{shape['dag_id']}.py"
    path.write_text("\n".join(lines) + "\n")
    return path


def _large_platform(scratch: Path, stacks: int) -> Path:
    """The example with so many stacks in three clouds, each after the one that is ten before it, and a release for
    every five of them."""
    each = stacks // 3
    spec = yaml.safe_load(EXAMPLE.read_text())
    for cloud in spec["clouds"].values():
        network = cloud["stacks"]["network"]
        for number in range(each - len(cloud["stacks"])):
            after = {"after": [f"s{number - 10}"]} if number >= 10 else {}
            cloud["stacks"][f"s{number}"] = {**network, **after}
        release = cloud["charts"]["ingest"]
        cloud["charts"] |= {f"r{number}": release for number in range(each // 5 - len(cloud["charts"]))}
    file = scratch / f"large-{stacks}" / "platform.yaml"
    file.parent.mkdir()
    file.write_text(json.dumps(spec, default=str))
    return file


def _python(scratch: Path, platform: Path, code: str, *args: str) -> Any:
    result = scratch / "result.json"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env |= {
        "AIRFLOW_HOME": str(scratch / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__TRIPLANE__PLATFORM": str(platform),
    }
    subprocess.run(
        [sys.executable, "-c", code, str(result), *args], env=env, check=True, stdout=subprocess.DEVNULL
    )
    return json.loads(result.read_text())


if __name__ == "__main__":
    sys.exit(main())
