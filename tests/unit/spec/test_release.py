"""What a spec says about releases, and what it cannot say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from triplane.spec.load import SpecError, load
from triplane.spec.model import Platform

BASE: dict[str, Any] = {
    "version": 1,
    "name": "shop",
    "environments": {"staging": {}, "prod": {}},
    "clouds": {
        "aws": {"region": "r"},
        "gcp": {"project": "p", "region": "r"},
        "azure": {"resource_group": "g", "location": "l"},
    },
}


def platform(folder: Path, **changes: Any) -> Platform:
    file = folder / "platform.yaml"
    file.write_text(yaml.safe_dump({**BASE, **changes}, sort_keys=False))
    return load(file, files=False)


def test_nothing_said_means_all_at_once_and_each_for_itself(tmp_path: Path) -> None:
    found = platform(tmp_path)
    assert found.release_stages() == (("aws", "gcp", "azure"),)
    assert found.release_of("prod").promise() == {}


def test_an_environment_says_it_instead_of_the_platform(tmp_path: Path) -> None:
    found = platform(
        tmp_path,
        release={"order": ["gcp", ["aws", "azure"]], "policy": "all_or_nothing", "supersede": True},
        environments={"staging": {}, "prod": {"release": {"policy": "quorum", "quorum": 2}}},
    )
    assert found.release_stages() == (("gcp",), ("aws", "azure"))
    assert found.release_of("staging").promise() == {"policy": "all_or_nothing"}
    assert found.release_of("prod").promise() == {"policy": "quorum", "quorum": 2}
    assert found.release_of("prod").supersede is False, "the whole is replaced"


@pytest.mark.parametrize(
    ("release", "said"),
    [
        ({"order": ["aws", "gcp"]}, "must name each cloud in use once"),
        ({"order": ["aws", ["gcp", "azure"], "aws"]}, "must name each cloud in use once"),
        ({"order": ["aws", []]}, "at least 1 item"),
        ({"order": ["aws", "gcp", "oracle"]}, "should be 'aws', 'gcp' or 'azure'"),
        ({"policy": "quorum"}, "need each other"),
        ({"quorum": 2}, "need each other"),
        ({"policy": "quorum", "quorum": 4}, "quorum"),
        ({"policy": "everything"}, "policy"),
        ({"gate": "healthy"}, "there is no gate 'healthy'"),
        ({"gate": {"url": "http://x"}}, "gate"),
    ],
)
def test_what_makes_no_sense_is_said_where_it_stands(tmp_path: Path, release: Any, said: str) -> None:
    with pytest.raises(SpecError, match=said) as found:
        platform(tmp_path, release=release)
    assert all(problem.line for problem in found.value.problems)


def test_a_quorum_of_more_clouds_than_there_are(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="staging: the quorum is larger than the number of clouds in use, 1"):
        platform(tmp_path, clouds={"aws": {"region": "r"}}, release={"policy": "quorum", "quorum": 2})


def test_the_order_is_not_an_environment_s(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="unknown key 'order'"):
        platform(tmp_path, environments={"prod": {"release": {"order": ["aws", "gcp", "azure"]}}})
