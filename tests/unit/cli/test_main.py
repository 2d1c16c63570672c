from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from triplane.cli.main import main


def test_validate_prints_every_problem_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "platform.yaml"
    path.write_text("version: 1\nname: x\nenviroments: {}\nclouds: {aws: {region: r}}\n")
    assert main(["validate", str(path)]) == 1
    output = capsys.readouterr()
    assert output.out.splitlines() == [
        f"{path}:1:1: 'environments' is missing",
        f"{path}:3:1: unknown key 'enviroments' (did you mean 'environments'?)",
    ]
    assert output.err == "2 problems\n"


def test_validate_says_nothing_about_a_good_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "platform.yaml"
    path.write_text("version: 1\nname: x\nenvironments: {dev: {}}\nclouds: {aws: {region: r}}\n")
    assert main(["validate", str(path)]) == 0
    assert capsys.readouterr().out == ""


def test_schema_is_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Triplane platform"


def test_keys_are_new_and_usable(capsys: pytest.CaptureFixture[str]) -> None:
    main(["keys"])
    main(["keys"])
    lines = [line.split("=", 1) for line in capsys.readouterr().out.splitlines()]
    values = [value for _, value in lines]
    assert len(set(values)) == 4
    Fernet(values[0])


def test_wrong_usage_exits_with_2() -> None:
    with pytest.raises(SystemExit) as error:
        main(["deploy-everything"])
    assert error.value.code == 2


def test_an_error_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sandbox", "env", "--home", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("triplane: there is no sandbox in")
