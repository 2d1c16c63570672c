"""The example of the guide, run by Airflow itself: its wait is deferred."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from cryptography.fernet import Fernet

from tests.e2e.test_kubernetes import SECRET, push
from triplane.sandbox.runtime import Sandbox

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "manifests.md"
MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  minReadySeconds: 3
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}}
    spec: {containers: [{name: main, image: "IMAGE"}]}
"""
HEAD = """
from triplane.kubernetes.cluster_operator import ClusterOperator

ClusterOperator.patience = 0.0
with DAG("edge") as dag:
"""
TAIL = """
if __name__ == "__main__":
    run = dag.test()
    assert run.state == "success", run.state
"""


def test_the_guides_dag_runs(sandbox: Sandbox, cloud_env: dict[str, str], tmp_path: Path) -> None:
    example = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)[0]
    folder = tmp_path / "k8s"
    folder.mkdir()
    (folder / "api.yaml").write_text(MANIFEST.replace("IMAGE", push(sandbox, "aws", "good")))
    script = tmp_path / "dags" / "edge.py"
    script.parent.mkdir()
    example = example.replace('config={"settings"', 'poll=0.5,\n    config={"settings"')
    example = example.replace("/srv/k8s/edge", str(folder)).replace('with DAG("edge"):\n', HEAD.lstrip("\n"))
    namespace = f"edge-{time.time_ns() % 10**8}"
    script.write_text(example.replace('namespace="edge"', f'namespace="{namespace}"') + TAIL)
    kubeconfig = sandbox.home / "kubernetes" / "aws" / "admin.kubeconfig"
    env = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db",
        "AIRFLOW__TRIPLANE__ARTIFACT_KEY": Fernet.generate_key().decode(),
        "AIRFLOW_VAR_EDGE_TOKEN": SECRET,
        "AIRFLOW_CONN_CLUSTER": json.dumps(
            {"conn_type": "kubernetes", "extra": {"kube_config_path": str(kubeconfig)}}
        ),
    }
    migrate = [sys.executable, "-m", "airflow", "db", "migrate"]
    subprocess.run(migrate, env=env, capture_output=True, check=True)
    run = subprocess.run([sys.executable, str(script)], env=env, capture_output=True, text=True, check=False)
    said = run.stdout + run.stderr
    assert run.returncode == 0, said[-5000:]
    assert "waiting without a worker slot" in said
    assert "The wait has ended: done" in said
    assert SECRET not in said
