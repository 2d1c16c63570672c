"""What Triplane adds to buildah and Helm: work on what is unchanged, and many releases against a shell loop.

Runs in a sandbox of its own: real buildah, a real registry, a real Kubernetes API server.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cryptography.fernet import Fernet

from triplane.sandbox.runtime import Sandbox

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "streaming-platform"
REGISTRY = "000000000000.dkr.ecr.eu-west-1.amazonaws.com"
ROUNDS = 3
RELEASES = 20
AT_ONCE = 4
"""Tasks, or Helms, side by side."""
READY_SECONDS = 5
"""Until a pod is available, as pulling its image and its first probes take: the sandbox's pods are ready at once."""


@contextmanager
def prepared(scratch: Path) -> Iterator[Sandbox]:
    """A running sandbox, and Airflow connections that lead into it."""
    os.environ["AIRFLOW__TRIPLANE__ARTIFACT_STORE"] = f"file://{scratch}/images-store"
    os.environ["AIRFLOW__TRIPLANE__ARTIFACT_KEY"] = Fernet.generate_key().decode()
    sandbox = Sandbox.up(scratch / "sandbox", on_progress=lambda line: None)
    shutil.copytree(EXAMPLE / "charts" / "service", scratch / "service")
    deployment = scratch / "service" / "templates" / "deployment.yaml"
    text = deployment.read_text()
    deployment.write_text(text.replace("\nspec:\n", f"\nspec:\n  minReadySeconds: {READY_SECONDS}\n", 1))
    try:
        os.environ.update(sandbox.environ())
        os.environ["BENCH_CHART"] = str(scratch / "service")
        kubeconfig = sandbox.home / "kubernetes" / "aws" / "admin.kubeconfig"
        cluster = {"conn_type": "kubernetes", "extra": {"kube_config_path": str(kubeconfig)}}
        os.environ["AIRFLOW_CONN_BENCH_CLUSTER"] = json.dumps(cluster)
        os.environ["KUBECONFIG"] = str(kubeconfig)
        yield sandbox
    finally:
        sandbox.down()


def unchanged_image(scratch: Path) -> tuple[float, str]:
    """Seconds to build and push an image that was built and pushed before; and that image."""
    from triplane.images.operators import ImageBuildOperator, ImagePushOperator

    def once() -> str:
        path, storage = str(EXAMPLE / "services" / "ingest"), str(scratch / "containers")
        build = ImageBuildOperator(task_id="build", image="bench", path=path, storage=storage)
        digest = build.execute(_context())["digest"]
        push = {
            "image": "bench",
            "registry": REGISTRY,
            "conn_id": "aws_default",
            "cloud": "aws",
            "create": {},
        }
        return ImagePushOperator(task_id="push", digest=digest, **push).execute(_context())

    image = once()
    return statistics.median(_seconds(once) for _ in range(ROUNDS)), image


def unchanged_release(image: str) -> float:
    """Seconds to plan and deploy a release that serves already what is wanted."""
    _deploy(("unchanged", 0, image, _plan("unchanged", 0, image)))
    again: Callable[[], None] = lambda: _deploy(("unchanged", 0, image, _plan("unchanged", 0, image)))  # noqa: E731
    return statistics.median(_seconds(again) for _ in range(ROUNDS))


def many_releases(image: str) -> float:
    """20 approved releases deployed by forked tasks / the same ``helm upgrade`` by ``xargs``, as many at once.

    What an Airflow task costs by itself is in neither.
    """
    plans = [("ours", number, image, _plan("ours", number, image)) for number in range(RELEASES)]
    with multiprocessing.get_context("fork").Pool(AT_ONCE, maxtasksperchild=1) as pool:
        ours = _seconds(lambda: pool.map(_deploy, plans, chunksize=1))
    repository, _, digest = image.partition("@")
    helm = [
        "helm",
        "upgrade",
        "r{}",
        os.environ["BENCH_CHART"],
        "--install",
        "--wait",
        "--namespace",
        "theirs",
    ]
    values = [f"image.repository={repository}", f"image.digest={digest}", "environment.LEVEL=info"]
    sets = [word for value in values for word in ("--set", value)]
    shell = ["xargs", f"-P{AT_ONCE}", "-I{}", *helm, "--create-namespace", *sets]
    listed = "\n".join(map(str, range(RELEASES))).encode()
    _run(["kubectl", "create", "namespace", "theirs"])
    theirs = _seconds(lambda: _run(shell, listed))
    return ours / theirs


def _kwargs(namespace: str, number: int, image: str) -> dict[str, Any]:
    return {
        "task_id": "t",
        "path": os.environ["BENCH_CHART"],
        "release": f"r{number}",
        "namespace": namespace,
        "address": f"aws/chart/r{number}",
        "scope": "bench/aws",
        "conn_id": "bench_cluster",
        "images": {"image": image},
        "values": {"environment": {"LEVEL": "info"}},
        "timeout": 120,
    }


def _plan(namespace: str, number: int, image: str) -> dict[str, Any]:
    from triplane.kubernetes.operators import HelmPlanOperator

    return HelmPlanOperator(**_kwargs(namespace, number, image)).execute(_context())


def _deploy(what: tuple[str, int, str, dict[str, Any]]) -> None:
    from triplane.kubernetes.operators import HelmUpgradeOperator

    namespace, number, image, change = what
    HelmUpgradeOperator(**_kwargs(namespace, number, image), change=change).execute(_context())


def _context() -> Any:
    kept: dict[str, str] = {}
    return {
        "dag_run": SimpleNamespace(dag_id="bench", run_id="run"),
        "task_state_store": SimpleNamespace(get=kept.get, set=kept.__setitem__),
        "ti": SimpleNamespace(xcom_push=lambda key, value: None),
    }


def _run(argv: list[str], stdin: bytes | None = None) -> None:
    subprocess.run(argv, input=stdin, stdout=subprocess.DEVNULL, check=True)


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, prepared(Path(folder)):
        seconds, built = unchanged_image(Path(folder))
        print(seconds, unchanged_release(built), many_releases(built), file=sys.stderr)
