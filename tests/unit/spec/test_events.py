"""Streams and schedules in a spec: what is found wrong before anything runs, and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from triplane.spec.load import load, problems_of

GOOD = """\
version: 1
name: shop
environments: {staging: {variables: {cron: "0 6 * * *"}}}
clouds:
  aws:
    region: eu-west-1
    functions:
      orders: {target: lambda, path: f, handler: a.h, runtime: python3.13, role: r}
      page: {target: fargate, image: i, cluster: c, execution_role: r, subnets: [], security_groups: []}
    streams:
      orders: {function: orders, stream: "arn:s", batch_window: 5s}
    schedules:
      nightly: {function: orders, role: r, cron: "0 6 * * MON", timezone: Europe/Berlin}
  gcp:
    project: p
    region: r
    schedules:
      nightly: {url: "https://a.example", every: 15m, enabled: "${env.cron}"}
  azure:
    resource_group: g
    location: l
    schedules:
      nightly: {url: "https://a.example", cron: "${env.cron}"}
"""


def problems(tmp_path: Path, old: str = "", new: str = "") -> list[str]:
    path = tmp_path / "platform.yaml"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new, 1) if old else GOOD)
    missing = ("does not exist", "no image", "no 'registry'")
    found = (str(problem).removeprefix(f"{path}:") for problem in problems_of(path))
    return [text for text in found if not any(word in text for word in missing)]


def test_addresses_and_options(tmp_path: Path) -> None:
    assert problems(tmp_path) == []
    path = tmp_path / "platform.yaml"
    page = next(line for line in GOOD.splitlines() if "fargate" in line)
    path.write_text(GOOD.replace(page + "\n", ""))
    platform = load(path, files=False)
    assert platform.addresses("aws") == ("aws/function/orders", "aws/stream/orders", "aws/schedule/nightly")
    aws, gcp = platform.cloud("aws"), platform.cloud("gcp")
    assert aws.streams["orders"].options() == {"enabled": True, "stream": "arn:s", "batch_window": 5}
    assert gcp.schedules["nightly"].options()["every"] == 900


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("0 6 * * MON", "0 6 1 * MON", "13:16: .*names days of the month and weekdays"),
        ("0 6 * * MON", "61 6 * * *", "13:16: .*61"),
        ("Europe/Berlin", "Europe/Berlinn", "13:16: .*Berlinn"),
        ("every: 15m", "every: 7m", "18:16: .*7 minutes divide neither an hour nor a day"),
        ("every: 15m", "every: 90s", "18:16: .*whole minutes"),
        (", every: 15m", "", "18:16: .*exactly one of 'cron' and 'every'"),
        ('url: "https://a.example", every', "every", "18:16: .*'function' or 'url', exactly one"),
        ("{function: orders, role", '{url: "https://x", function: orders, role', "13:17: unknown key 'url'"),
        ("{function: orders, stream", "{function: order, stream", "11:26: there is no function 'order'.*'orders'"),
        ("{function: orders, stream", "{function: page, stream", "11:26: streams call lambda in aws, 'page' is fargate"),
        ("{function: orders, stream", "{stream", "11:7: 'function' is missing"),
        ("batch_window: 5s", "batch_size: 0", "11:.*batch_size.*greater than or equal to 1"),
        ("orders, role: r, cron", "orders, cron", "13:16: .*eventbridge needs a 'role'"),
        ("{function: orders, role: r, cron: \"0 6 * * MON\"", "{target: eventbridge_rules, function: orders, cron: \"0 6 * * MON\"", "13:16: .*UTC"),
        ("nightly: {function", 'nightly: {name: "${network.x}", function', "13:.*a name is fixed before stacks"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, old: str, new: str, said: str) -> None:
    import re

    found = problems(tmp_path, old, new)
    assert any(re.search(said, text) for text in found), found
