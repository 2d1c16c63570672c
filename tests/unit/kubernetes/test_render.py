from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from triplane.core.change import Risk
from triplane.core.errors import InputError
from triplane.core.redact import Redactor
from triplane.kubernetes import proof, render
from triplane.kubernetes.diff import objects
from triplane.kubernetes.helm import Observed, Release, Revision, record, way_back
from triplane.kubernetes.plan import Image, Written, check_pinned, plan, with_objects

A, B, CHART = ("sha256:" + letter * 64 for letter in "abc")
OURS = record(CHART, A)


def config(name: str, value: str = "v", kind: str = "ConfigMap", api: str = "v1") -> str:
    return f"---\napiVersion: {api}\nkind: {kind}\nmetadata: {{name: {name}}}\ndata: {{k: {value}}}\n"


def chart(folder: Path, template: str) -> Path:
    (folder / "templates").mkdir(parents=True)
    (folder / "templates" / "a.yaml").write_text(template)
    return folder


class Renders:
    def __init__(self, *texts: str) -> None:
        self.left = list(texts)

    def __call__(self) -> Any:
        return objects(self.left.pop(0))


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "SECONDS_APART", 0)


def test_a_chart_without_random_values_is_rendered_once(tmp_path: Path) -> None:
    found = render.render_to_approve(
        chart(tmp_path / "c", "# now\na: {{ .Values.now_and_then }}"), Renders(config("a"))
    )
    assert found.binds == {"manifests": render.digest_but(found.objects, ())}


def test_what_differs_is_left_out(tmp_path: Path) -> None:
    template = "a: {{ randAlphaNum 5 | quote }}"
    first, second = (config("same") + config("other", value) for value in "12")
    found = render.render_to_approve(chart(tmp_path / "c", template), Renders(first, second))
    assert found.binds["manifests_except"] == "ConfigMap other"
    third = objects(config("same") + config("other", "3"))
    assert render.digest_but(third, ("ConfigMap other",)) == found.binds["manifests"]
    third = objects(config("same", "x") + config("other", "3"))
    assert render.digest_but(third, ("ConfigMap other",)) != found.binds["manifests"]


def test_random_names_cannot_be_bound(tmp_path: Path) -> None:
    template = "a: {{- printf (uuidv4) }}"
    found = render.render_to_approve(chart(tmp_path / "c", template), Renders(config("a-1"), config("a-2")))
    assert not found.binds


def test_the_number_of_the_revision_cannot_be_bound(tmp_path: Path) -> None:
    found = render.render_to_approve(chart(tmp_path / "c", "{{ .Release.Revision }}"), Renders(config("a")))
    assert not found.binds


def test_a_packed_subchart_is_looked_into(tmp_path: Path) -> None:
    top = chart(tmp_path / "c", "a: 1")
    (top / "charts").mkdir()
    data = b"{{ genCA 1 }}"
    with tarfile.open(top / "charts" / "sub-1.0.0.tgz", "w:gz") as archive:
        info = tarfile.TarInfo("sub/templates/x.yaml")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    found = render.render_to_approve(top, Renders(config("a", "1"), config("a", "2")))
    assert found.unstable == ("ConfigMap a",)


def written(**more: Any) -> Written:
    fields: dict[str, Any] = {"values": {}, "images": {"image": Image("host/web", A)}, **more}
    return Written(release=Release("web", "apps"), cluster="aws/one", chart=CHART, **fields)


RBAC = "rbac.authorization.k8s.io/v1"


@pytest.mark.parametrize(
    ("old", "new", "risk"),
    [
        ("", config("a") + config("r", kind="Role", api=RBAC), Risk.LOW),
        (config("a"), config("a", "w"), Risk.MEDIUM),
        (config("a"), config("a") + config("r", kind="Role", api=RBAC), Risk.CRITICAL),
        (config("a") + config("b"), config("a"), Risk.HIGH),
        (config("a") + config("p", kind="PersistentVolumeClaim"), config("a"), Risk.CRITICAL),
    ],
)
def test_the_risk_of_objects(old: str, new: str, risk: Risk) -> None:
    state = Observed((Revision(1, "deployed", OURS),), {}) if old else Observed()
    change = plan("aws/chart/web", written(), state, lambda name: "", Redactor())
    found = with_objects(change, render.Rendered(objects(new)), objects(new), objects(old), Redactor())
    assert found.risk == risk
    assert "manifests" in found.binds


def deployment(replicas: str = "replicas: 2, ", name: str = "web", where: str = "") -> str:
    return (
        f"---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}{where}}}\n"
        f"spec: {{{replicas}template: {{}}}}\n"
    )


def autoscaler(
    name: str = "web", limits: str = "minReplicas: 2, maxReplicas: 4", kind: str = "Deployment"
) -> str:
    target = f"scaleTargetRef: {{apiVersion: apps/v1, kind: {kind}, name: web}}"
    api = "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler"
    return f"---\n{api}\nmetadata: {{name: {name}}}\nspec: {{{target}, {limits}}}\n"


def planned(manifest: str) -> tuple[str, ...]:
    change = plan("aws/chart/i", written(), Observed(), lambda _: "", Redactor())
    found = objects(manifest, "n")
    return with_objects(change, render.Rendered(found), found, {}, Redactor()).lines


@pytest.mark.parametrize(
    ("manifest", "fights"),
    [
        (deployment() + autoscaler(), True),
        (deployment(where=", namespace: n") + autoscaler(), True),
        (deployment(where=", namespace: other") + autoscaler(), False),
        (deployment("") + autoscaler(), False),
        (deployment("replicas: , ") + autoscaler(), False),
        (deployment(), False),
        (deployment(name="worker") + autoscaler(), False),
        (deployment() + autoscaler(kind="StatefulSet"), False),
        (deployment() + autoscaler().replace("scaleTargetRef", "other"), False),
        (deployment() + "---\nkind: Note\nmetadata:\nspec: text\n", False),
    ],
)
def test_a_chart_that_fights_its_autoscaler(manifest: str, fights: bool) -> None:
    warning = (
        "! deployment/web sets replicas, and the autoscaler web changes them: every upgrade undoes its work"
    )
    assert (warning in planned(manifest)) is fights


@pytest.mark.parametrize(
    ("manifest", "problem"),
    [
        (autoscaler("a") + autoscaler("b"), "two autoscalers, a and b, scale deployment/web"),
        (autoscaler(limits="minReplicas: 5, maxReplicas: 4"), "the autoscaler web has min 5 > max 4"),
    ],
)
def test_a_chart_whose_autoscalers_cannot_work(manifest: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        planned(manifest)


def test_images_by_tag_are_refused() -> None:
    good = objects(f'kind: Pod\nmetadata: {{name: a}}\nspec: {{containers: [{{image: "host/web@{A}"}}]}}')
    check_pinned(written(), good)
    check_pinned(
        written(), objects("kind: Pod\nmetadata: {name: a}\nspec: {containers: [{image: host/web2:1}]}")
    )
    with pytest.raises(InputError, match="images_as: tag"):
        check_pinned(
            written(), objects("kind: Pod\nmetadata: {name: a}\nspec: {containers: [{image: host/web:1}]}")
        )


@pytest.mark.parametrize(
    ("how", "values"),
    [
        ("digest", {"image": {"repository": "host/web", "digest": A, "pullPolicy": "Always"}}),
        ("tag", {"image": {"repository": "host/web@sha256", "tag": "a" * 64, "pullPolicy": "Always"}}),
        ("reference", {"image": f"host/web@{A}"}),
    ],
)
def test_how_a_chart_is_told_its_image(how: str, values: dict[str, Any]) -> None:
    own = {} if how == "reference" else {"image": {"pullPolicy": "Always"}}
    found = written(values=own, images_as=how)
    assert found.all_values == values
    serves = Observed((Revision(1, "deployed", OURS),), values)
    assert plan("a", found, serves, lambda name: "", Redactor()).action == "none"
    newer = written(values=own, images_as=how, images={"image": Image("host/web", B)})
    assert plan("a", newer, serves, lambda name: "", Redactor()).lines == (f"~ image: {A} -> {B}",)


def test_a_value_beside_an_image_is_a_change() -> None:
    serves = Observed((Revision(1, "deployed", OURS),), written().all_values)
    found = plan(
        "a", written(values={"image": {"pullPolicy": "Always"}}), serves, lambda name: "", Redactor()
    )
    assert found.lines == ("+ values.image.pullPolicy = Always",)


def test_references_are_replaced_in_the_spec_and_not_in_files() -> None:
    found = written(images={}, files={"a": "${HOME}", "b": "${x.y}"}, values={"b": "${stack.out}"})
    assert found.wanted({"stack.out": "v"}.__getitem__).values == {"a": "${HOME}", "b": "v"}
    change = plan("a", found, Observed(), {"stack.out": "v"}.__getitem__, Redactor())
    assert "+ values.a = ${HOME}" in change.lines


@pytest.mark.parametrize(
    ("history", "approved", "expected"),
    [
        ([("deployed", OURS)], 0, 0),
        ([("superseded", OURS), ("deployed", OURS)], 1, 1),
        ([("superseded", OURS), ("superseded", OURS), ("deployed", OURS)], 1, 1),
        ([("deployed", OURS)], 1, None),
        ([("superseded", OURS), ("failed", ""), ("deployed", "Rollback to 1")], 1, None),
        ([("superseded", OURS), ("superseded", OURS), ("deployed", "Rollback to 2")], 1, 1),
        ([("failed", OURS), ("deployed", OURS)], 1, None),
        ([("superseded", OURS), ("failed", ""), ("deployed", OURS)], None, 1),
        ([("superseded", OURS), ("failed", ""), ("deployed", "Rollback to 1")], None, None),
        ([("deployed", OURS)], None, 0),
        ([("failed", OURS)], None, None),
    ],
)
def test_way_back(history: list[tuple[str, str]], approved: int | None, expected: int | None) -> None:
    revisions = tuple(Revision(number, *item) for number, item in enumerate(history, 1))
    assert way_back(Observed(revisions), approved) == expected


def test_proof() -> None:
    def deployment(*images: str) -> dict[str, Any]:
        containers = [{"name": f"c{n}", "image": image} for n, image in enumerate(images)]
        return {"kind": "Deployment", "spec": {"template": {"spec": {"containers": containers}}}}

    expected = proof.pinned([deployment(f"h/a@{A}", "h/b:1"), deployment(f"h/a@{B}"), {"kind": "Service"}])
    assert expected == {"c0": {A, B}}
    assert not proof.differing(expected, {"c0": frozenset({A}), "c1": frozenset({CHART})})
    assert proof.differing(expected, {"c0": frozenset({A, CHART})}) == [
        f"c0 runs {A} and {CHART} instead of {A} and {B}"
    ]
