from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import yaml

from triplane.core.errors import InputError
from triplane.core.redact import Redactor
from triplane.kubernetes.diff import differences, digest_objects, lines, objects

SECRET = "correct-horse"


def deployment(image: str = "a", env: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    variables = [{"name": name, "value": value} for name, value in (env or {}).items()]
    containers = [{"name": "web", "image": image, "env": variables}]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"replicas": 1, "template": {"spec": {"containers": containers}}, **spec},
    }


def other(kind: str, name: str, **body: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **body}


def shown(old: list[dict[str, Any]], new: list[dict[str, Any]], most: int = 200) -> tuple[str, ...]:
    before, after = (objects(yaml.safe_dump_all(side)) for side in (old, new))
    return lines(differences(before, after, Redactor()), most)


def test_the_same_objects_however_they_are_written() -> None:
    text = "---\n# Source: x\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: v}\n---\n"
    found = objects(text)
    again = objects(yaml.safe_dump(other("ConfigMap", "a", data={"k": "v"})))
    assert not differences(found, again, Redactor())
    assert digest_objects(found) == digest_objects(again)


def test_a_newer_version_of_an_api_is_a_change_not_another_object() -> None:
    new = {**deployment(), "apiVersion": "apps/v2"}
    assert shown([deployment()], [new]) == ("~ Deployment web", "    ~ apiVersion: apps/v1 -> apps/v2")


def test_objects_and_fields() -> None:
    found = shown(
        [deployment("a", {"LEVEL": "info", "GONE": "x"}), other("Service", "old")],
        [deployment("b", {"LEVEL": "debug"}, replicas=2), other("ConfigMap", "new")],
    )
    assert found == (
        "- Service old",
        "+ ConfigMap new",
        "~ Deployment web",
        "    ~ spec.replicas: 1 -> 2",
        "    ~ spec.template.spec.containers[web].env[LEVEL].value: info -> debug",
        '    - spec.template.spec.containers[web].env[GONE]: {"name": "GONE", "value": "x"}',
        "    ~ spec.template.spec.containers[web].image: a -> b",
    )


def test_what_is_in_a_secret_is_shown_nowhere() -> None:
    encoded = base64.b64encode(SECRET.encode()).decode()
    old = [other("Secret", "s", data={"A": "b2xkLXZhbHVl"}), deployment(env={"COPY": "none"})]
    new = [
        other("Secret", "s", data={"A": encoded}, stringData={"B": "open-sesame"}),
        deployment(env={"COPY": SECRET, "URL": f"x://{encoded}/open-sesame"}),
    ]
    text = "\n".join(shown(old, new))
    assert "    ~ data.A: *** -> ***" in text
    for secret in (SECRET, encoded, "open-sesame", "old-value", "b2xkLXZhbHVl"):
        assert secret not in text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, {"DB_PASSWORD": SECRET}),
        ({"DB_PASSWORD": "before"}, {"DB_PASSWORD": SECRET}),
        ({}, {"DSN": f"postgres://app:{SECRET}@db/app"}),
    ],
)
def test_secrets_by_name_and_shape(old: dict[str, str], new: dict[str, str]) -> None:
    text = "\n".join(shown([deployment(env=old)], [deployment(env=new)]))
    assert SECRET not in text
    assert "***" in text


def test_the_name_of_a_secret_is_shown() -> None:
    old, new = ({"volumes": [{"name": "v", "secret": {"secretName": n}}]} for n in ("one", "two"))
    assert "    ~ spec.volumes[v].secret.secretName: one -> two" in shown(
        [deployment(**old)], [deployment(**new)]
    )


def test_texts_show_the_first_line_that_differs() -> None:
    old, new = (other("ConfigMap", "c", data={"app.conf": f"a\n{n}\nc\n"}) for n in (1, 2))
    assert shown([old], [new])[1] == "    ~ data[app.conf] line 2: 1 -> 2"


def test_a_nested_list_without_names_goes_by_position() -> None:
    old, new = (deployment(args=["-v", n]) for n in ("1", "2"))
    assert shown([old], [new])[1] == "    ~ spec.args[1]: 1 -> 2"


def test_numbers_and_booleans_are_not_the_same() -> None:
    assert shown([deployment(paused=1)], [deployment(paused=True)])


def test_the_size_is_bounded() -> None:
    old = [other("ConfigMap", f"c{n}", data={f"k{k}": "a" for k in range(50)}) for n in range(100)]
    new = [other("ConfigMap", f"c{n}", data={f"k{k}": "b" * 500 for k in range(50)}) for n in range(100)]
    found = shown(old, [*new, other("Service", "s")], most=40)
    assert len(found) < 70
    assert found[-1] == "… and + 1, ~ 98 more objects"
    assert "    … and 30 more fields" in found
    assert all(len(line) < 360 for line in found)


def test_namespaces_other_than_the_releases_are_shown() -> None:
    inside = other("Role", "r")
    inside["metadata"]["namespace"] = "apps"
    outside = json.loads(json.dumps(inside).replace("apps", "kube-system"))
    found = objects(yaml.safe_dump_all([inside, outside]), "apps")
    assert [str(key) for key in found] == ["Role r", "Role kube-system/r"]


def test_lists_are_taken_apart_and_nonsense_is_refused() -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": [other("Role", "a"), other("Role", "b")]}
    assert len(objects(yaml.safe_dump(listed))) == 2
    for text in ("just text", "a: b", "kind: [unclosed"):
        with pytest.raises(InputError):
            objects(text)
