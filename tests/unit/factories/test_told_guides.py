"""The guides about messages and pull requests: their specs are valid, their DAGs can be built."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from triplane.spec.load import load

GUIDES = [
    Path(__file__).parents[3] / "docs" / "guides" / f"{name}.md"
    for name in ("notifications", "pull-requests")
]
BASE = """
version: 1
name: shop
environments: {prod: {}}
clouds: {aws: {region: eu-west-1, state: {bucket: b}, stacks: {main: {path: infra}}}}
"""


def blocks(language: str) -> list[str]:
    return [
        block
        for guide in GUIDES
        for block in re.findall(rf"^```{language}\n(.*?)^```$", guide.read_text(), re.M | re.S)
    ]


@pytest.mark.parametrize("block", blocks("yaml"))
def test_specs(block: str, tmp_path: Path) -> None:
    file = tmp_path / "platform.yaml"
    file.write_text(f"{BASE}{block}")
    platform = load(file, files=False)
    assert platform.notify or platform.source


@pytest.mark.parametrize("block", blocks("python"))
def test_dags(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "platform.yaml"
    file.write_text(f"{BASE}{blocks('yaml')[0]}")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__PLATFORM", str(file))
    made: list[DAG] = []
    monkeypatch.setattr(DAG, "__exit__", _keeping(made, DAG.__exit__))
    exec(block, {})
    (dag,) = made
    assert dag.tasks


def _keeping(made: list[DAG], leave: Any) -> Any:
    def __exit__(self: DAG, *error: Any) -> None:
        made.append(self)
        leave(self, *error)

    return __exit__
