"""Routes and sources of the spec, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from triplane.spec.load import problems_of

HEAD = """version: 1
name: shop
environments: {prod: {}}
clouds: {aws: {region: eu-west-1, state: {bucket: b}, stacks: {main: {path: infra}}}}
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("notify: {ops: {events: [failed]}}", "exactly one channel, this one has none"),
        ("notify: {ops: {teams: {connection: t}, webhook: {connection: w}}}", "has teams, webhook"),
        ("notify: {ops: {teams: {}}}", "connection"),
        ("notify: {ops: {webhook: {connection: w}, events: [deploid]}}", "deployed"),
        ("notify: {ops: {webhook: {connection: w}, environments: [prd]}}", "there is no environment 'prd'"),
        ("notify: {ops: {webhook: {connection: w}, template: '{{ text'}}", "not a Jinja template"),
        ("notify: {ops: {webhook: {connection: w}, template: '{{ token }}'}}", "and no 'token'"),
        ("notify: {ops: {webhook: {connection: 'https://hooks.example.com/x'}}}", "connection"),
        ("notify: {ops: {slack: {channel: '${env.channel}'}}}", "references are not replaced here"),
        ("notify: {ops: {email: {to: []}}}", "to"),
        ("notify: {ops: {email: {to: ['a@b.c, d@e.f']}}}", "to"),
        ("notify: {ops: {sns: {topic: 'arn:aws:sns:eu-west-1:123456789012:x.fifo'}}}", "topic"),
        ("notify: {ops: {event_grid: {topic: 'https://t.example.com/api/events?sig=x'}}}", "topic"),
        ("source: {}", "exactly one of 'github' and 'gitlab'"),
        ("source: {github: {repository: shop}}", "repository"),
        ("source: {github: {repository: acme/shop, url: 'https://user:pw@ghe.example.com'}}", "url"),
        ("source: {gitlab: {repository: 'acme/../shop'}}", "repository"),
        ("source: {gitlab: {repository: '42'}, fetch: {}}", "name the project by its path"),
        ("source: {github: {repository: acme/shop}, fetch: {path: ../x}}", "path"),
        ("source: {github: {repository: acme/shop}, fetch: {deploy_key: 'ssh://x'}}", "deploy_key"),
    ],
)
def test_what_is_wrong_is_said_where_it_is(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "infra").mkdir()
    file = tmp_path / "platform.yaml"
    file.write_text(f"{HEAD}{text}\n")
    problems = problems_of(str(file))
    assert {problem.line for problem in problems} == {5}
    assert any(said in str(problem) for problem in problems)
