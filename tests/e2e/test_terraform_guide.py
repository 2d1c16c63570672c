"""The example of the guide, run by Airflow itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "terraform.md"
HCL = """
variable "size" { type = string }
variable "password" {
  type      = string
  sensitive = true
}
resource "terraform_data" "network" { input = [var.size, var.password] }
"""


@pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not on PATH")
def test_the_guides_dag_runs(tmp_path: Path) -> None:
    example = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)[0]
    network = tmp_path / "infra" / "network"
    network.mkdir(parents=True)
    (network / "main.tf").write_text(HCL)
    script = tmp_path / "dags" / "network.py"
    script.parent.mkdir()
    script.write_text(
        example.replace("/srv/infra", str(tmp_path / "infra")).replace('with DAG("network"):', HEAD) + TAIL
    )
    env = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db",
        "AIRFLOW__TRIPLANE__ARTIFACT_KEY": Fernet.generate_key().decode(),
        "AIRFLOW_VAR_DB_PASSWORD": "correct-horse-battery",
        "TF_CLI_CONFIG_FILE": "/dev/null",
    }
    migrate = [sys.executable, "-m", "airflow", "db", "migrate"]
    subprocess.run(migrate, env=env, capture_output=True, check=True)
    run = subprocess.run([sys.executable, str(script)], env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert "local/stack/network: deployed, serial 1" in run.stdout + run.stderr
    assert "correct-horse-battery" not in run.stdout + run.stderr
    state = json.loads((network / "terraform.tfstate").read_text())
    assert "correct-horse-battery" in json.dumps(state)


HEAD = 'with DAG("network") as dag:'
TAIL = """
if __name__ == "__main__":
    run = dag.test()
    assert run.state == "success", run.state
"""
