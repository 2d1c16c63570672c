from __future__ import annotations

from typing import Any

import pytest

from triplane.core.change import Risk
from triplane.core.errors import InputError
from triplane.core.redact import Redactor
from triplane.kubernetes.helm import Observed, Release, Revision, record
from triplane.kubernetes.plan import Image, Written, plan, with_drift

A, B, CHART = ("sha256:" + letter * 64 for letter in "abc")
SECRET = "hunter2-hunter2"


def written(**changes: Any) -> Written:
    fields: dict[str, Any] = {
        "release": Release("ingest", "streaming"),
        "cluster": "aws/streaming",
        "chart": CHART,
        "values": {
            "replicas": 2,
            "environment": {"BUCKET": "${cluster.bucket}"},
            "secrets": {"TOKEN": "${variable.token}"},
        },
        "images": {"image": Image("host/ingest", A)},
    }
    return Written(**fields | changes)


def lookup(name: str) -> str:
    return {"cluster.bucket": "b-1", "variable.token": SECRET}[name]


def serving(of: Written, status: str = "deployed", **values: Any) -> Observed:
    description = record(of.chart, of.values_digest)
    return Observed((Revision(1, status, description),), {**of.wanted(lookup).values, **values})


def change(new: Written, observed: Observed, find: Any = lookup) -> Any:
    return plan("aws/chart/ingest", new, observed, find, Redactor([SECRET]))


def test_install() -> None:
    found = change(written(), Observed())
    assert (found.action, found.risk, found.summary) == ("create", Risk.LOW, "install streaming/ingest")
    assert found.binds == {
        "release": "aws/streaming/streaming/ingest",
        "chart": CHART,
        "values": written().values_digest,
        "image.image": f"host/ingest@{A}",
        "revision": 0,
    }
    assert found.lines == (
        f"~ image: none -> {A}",
        f"~ chart: none -> {CHART}",
        "+ values.replicas = 2",
        "+ values.environment.BUCKET = ${cluster.bucket}",
        "+ values.secrets.TOKEN = ***",
    )


def test_nothing_to_do() -> None:
    found = change(written(), serving(written()))
    assert (found.action, found.risk, found.lines) == ("none", Risk.NONE, ())
    assert found.binds["revision"] == 1


def test_new_image() -> None:
    new = written(images={"image": Image("host/ingest", B)})
    found = change(new, serving(written()))
    assert (found.action, found.risk) == ("update", Risk.MEDIUM)
    assert found.lines == (f"~ image: {A} -> {B}",)


def test_changed_values() -> None:
    new = written(values={"replicas": 3, "environment": {"BUCKET": "${cluster.bucket}"}})
    found = change(new, serving(written()))
    assert found.lines == ("~ values.replicas = 3", "- values.secrets.TOKEN")


def test_a_rotated_secret_is_a_change_and_is_not_shown() -> None:
    found = change(written(), serving(written(), secrets={"TOKEN": "an old secret"}))
    assert found.action == "update"
    assert found.lines == ("~ values.secrets.TOKEN = ***",)


def test_an_output_that_is_not_known_yet_is_a_change() -> None:
    def unknown(name: str) -> str:
        if name == "cluster.bucket":
            raise KeyError(name)
        return lookup(name)

    found = change(written(), serving(written()), unknown)
    assert found.lines == ("~ values.environment.BUCKET = ${cluster.bucket}",)


def test_a_broken_release_is_a_change() -> None:
    state = serving(written())
    state = Observed((*state.revisions, Revision(2, "pending-upgrade")), state.values)
    found = change(written(), state)
    assert found.action == "update"
    assert found.lines == ("! revision 2 is pending-upgrade: it is set right first",)


def test_a_literal_under_a_secret_name_is_masked() -> None:
    found = change(written(values={"database": {"password": "plain-text"}}), Observed())
    assert "+ values.database.password = ***" in found.lines


def test_images_are_put_where_their_key_says() -> None:
    values = {"image": {"pullPolicy": "Always"}}
    images = {"image": Image("h/a", A), "sidecar.image": Image("h/b", B)}
    assert written(values=values, images=images).all_values == {
        "image": {"pullPolicy": "Always", "repository": "h/a", "digest": A},
        "sidecar": {"image": {"repository": "h/b", "digest": B}},
    }


@pytest.mark.parametrize("text", ["host/ingest:1", "host/ingest", "host/ingest@latest"])
def test_an_image_must_be_pinned(text: str) -> None:
    with pytest.raises(InputError, match="not pinned"):
        Image.parse(text)


def test_what_was_changed_by_hand_is_put_back() -> None:
    unchanged = change(written(), serving(written()))
    assert with_drift(unchanged, []) == unchanged
    attribute = {"name": "spec.replicas", "before": "2", "after": "5"}
    found = [
        {"address": "deployment n/api", "action": "update", "attributes": [attribute]},
        {"address": "service n/api", "action": "delete", "attributes": []},
    ]
    repaired = with_drift(unchanged, found)
    assert (repaired.action, repaired.risk, repaired.summary) == (
        "update",
        Risk.MEDIUM,
        "put back what was changed by hand in 2 objects",
    )
    assert repaired.lines == (
        "! deployment n/api was changed by hand",
        "    ~ spec.replicas: 5 -> 2",
        "! service n/api was deleted by hand",
    )
    assert str(repaired.binds["drifted"]).startswith("sha256:")
    assert with_drift(unchanged, found[:1]).binds["drifted"] != repaired.binds["drifted"]
