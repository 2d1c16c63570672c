from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from triplane.core.change import Risk
from triplane.core.errors import InputError, RefusedError, StaleError
from triplane.core.redact import Redactor
from triplane.kubernetes import configuration, scaling
from triplane.kubernetes.component import check, check_changes, check_destroys, plan, plan_to_destroy
from triplane.kubernetes.kube import Kubectl, apply_args, delete_args
from triplane.kubernetes.manifests import COMPONENT, Written, parse, put_images, read
from triplane.kubernetes.objects import Id, ObjectChange, compare, leaves, ordered
from triplane.kubernetes.plan import Image

DIGEST = "sha256:" + "a" * 64
IMAGE = Image.parse(f"host/ingest@{DIGEST}")
REDACT = Redactor(["correct-horse"])


def deployment(name: str = "api", **spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "ingest:1", **spec.pop("container", {})}
    template = {"metadata": {}, "spec": {"containers": [container]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"template": template, **spec},
    }


def item(kind: str, name: str = "x", **body: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **body}


def written(**more: Any) -> Written:
    known = {"address": "aws/manifests/api", "cluster": "aws/main", "namespace": "edge", "tree": "sha256:1"}
    return Written(**{**known, **more})


def lookup(name: str) -> Any:
    return {"variable.token": "correct-horse"}[name]


def test_arguments() -> None:
    assert apply_args("triplane", dry_run=True) == (
        *("apply", "--server-side", "--force-conflicts", "--field-manager", "triplane"),
        *("--dry-run=server", "--output", "json", "--filename", "-"),
    )
    assert "--validate=false" in apply_args("triplane-handover", parts=True)
    assert delete_args(30) == ("delete", "--ignore-not-found", "--wait", "--timeout=30s", "--filename", "-")


def test_files_are_read_in_order_and_lists_taken_apart(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n---\n")
    (tmp_path / "a.json").write_text('{"apiVersion": "v1", "kind": "List", "items": []}')
    assert [Id.of(found).name for found in read(tmp_path, Kubectl(tmp_path))] == ["b"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [", "not valid YAML"),
        ("kind: Pod", "document 1 is not a Kubernetes object"),
        ("{apiVersion: v1, kind: Pod, metadata: {generateName: x}}", "no metadata.name"),
    ],
)
def test_what_is_not_a_manifest(text: str, problem: str) -> None:
    with pytest.raises(InputError, match=rf"f.yaml.*{problem}"):
        list(parse(text, "f.yaml"))


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there are no manifests"):
        read(tmp_path, Kubectl(tmp_path))


def test_defaults_that_old_servers_cannot_merge() -> None:
    text = "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: [{port: 80}]}}"
    (found,) = parse(text, "f")
    assert found["spec"]["ports"] == [{"port": 80, "protocol": "TCP"}]
    (secret,) = parse("{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {a: b}}", "f")
    assert (secret["data"], "stringData" in secret) == ({"a": "Yg=="}, False)


def test_images_by_their_names() -> None:
    items = [deployment(container={"image": "registry:5000/team/ingest:1@sha256:12"})]
    put_images(items, {"registry:5000/team/ingest": IMAGE})
    assert items[0]["spec"]["template"]["spec"]["containers"][0]["image"] == str(IMAGE)
    with pytest.raises(InputError, match="no container uses the image other"):
        put_images(items, {"other": IMAGE})


def test_objects_are_labelled_placed_and_ordered() -> None:
    given = [deployment(), item("Namespace", "n"), item("Service")]
    found = written(config={"settings": {"N": 1}}).objects(given, lookup)
    assert [one["kind"] for one in found] == ["Namespace", "ConfigMap", "Service", "Deployment"]
    assert [one["metadata"].get("namespace") for one in found] == [None, "edge", "edge", "edge"]
    assert {one["metadata"]["labels"][COMPONENT] for one in found} == {"aws.manifests.api"}
    with pytest.raises(InputError, match=r"service edge/x is there twice"):
        written().objects([item("Service"), item("Service")], lookup)


def test_pods_follow_what_they_read() -> None:
    reads = {"envFrom": [{"secretRef": {"name": "credentials"}}]}

    def mark(token: str) -> tuple[str | None, str | None]:
        given = [deployment("a", container=reads), deployment("b")]
        found = written(secrets={"credentials": {"TOKEN": token}}).objects(given, lookup)
        notes = [
            one["spec"]["template"]["metadata"].get("annotations", {})
            for one in found
            if one["kind"] == "Deployment"
        ]
        return notes[0].get(configuration.HASH), notes[1].get(configuration.HASH)

    first, other = mark("${variable.token}")
    assert first
    assert other is None
    assert mark("${variable.token}")[0] == first
    assert mark("changed")[0] != first


def test_references_for_other_stores() -> None:
    wanted = {"credentials": {"store": "platform", "keys": {"PASSWORD": "prod/db#password"}}}
    (found,) = configuration.external(wanted)
    assert found["spec"]["data"] == [
        {"secretKey": "PASSWORD", "remoteRef": {"key": "prod/db", "property": "password"}}
    ]
    for cloud, name in (("aws", "objects"), ("gcp", "secrets"), ("azure", "objects")):
        (found,) = configuration.csi({"credentials": {"keys": {"PASSWORD": "db"}}}, cloud)
        assert "db" in found["spec"]["parameters"][name]
        assert found["spec"]["secretObjects"][0]["secretName"] == "credentials"
    with pytest.raises(InputError, match="no CSI provider"):
        list(configuration.csi(wanted, "kubernetes"))


def test_scaling() -> None:
    items = [deployment()]
    wanted = {"deployment/api": {"max_surge": 1, "autoscale": {"min": 2, "max": 4, "cpu": 70}}}
    (autoscaler,) = scaling.put(items, wanted, "autoscaling/v2beta2")
    assert autoscaler["apiVersion"] == "autoscaling/v2beta2"
    assert items[0]["spec"]["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}
    scaling.check([*items, autoscaler])


@pytest.mark.parametrize(
    ("workloads", "problem"),
    [
        ({"deployment/other": {"replicas": 2}}, "there is no deployment/other .* there are: deployment/api"),
        ({"daemonset/x": {"autoscale": {"max": 2}}}, "daemonset/x cannot be scaled"),
        ({"deployment/api": {"replicas": 2, "autoscale": {"max": 2}}}, "sets replicas, and the autoscaler"),
        ({"deployment/api": {"autoscale": {"min": 3, "max": 2}}}, "min 3 > max 2"),
    ],
)
def test_scaling_that_cannot_work(workloads: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        written(workloads=workloads).objects([deployment()], lookup)


def test_two_autoscalers_fight() -> None:
    target = {"kind": "Deployment", "name": "api"}
    spec = {"scaleTargetRef": target, "maxReplicas": 2}
    with pytest.raises(InputError, match="two autoscalers, a and b"):
        scaling.check([item(scaling.HPA, name, spec=spec) for name in "ab"])


def test_replicas_are_handed_over_only_by_their_owner() -> None:
    fields = {"manager": "triplane", "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    live = deployment(replicas=3)
    live["metadata"]["managedFields"] = [fields]
    key = Id.of(live).key
    (found,) = scaling.handed_over({key: live}, [deployment()], "triplane")
    assert found["spec"] == {"replicas": 3}
    assert not list(scaling.handed_over({key: live}, [deployment(replicas=2)], "triplane"))
    assert not list(scaling.handed_over({key: live}, [deployment()], "somebody"))


def test_differences_are_named_and_redacted() -> None:
    before = deployment(replicas=2, container={"env": [{"name": "DB_PASSWORD", "value": "hunter22"}]})
    after = deployment(replicas=3, container={"env": [{"name": "DB_PASSWORD", "value": "correct-horse"}]})
    before["metadata"] |= {"uid": "1", "resourceVersion": "7"}
    before["status"] = {"replicas": 2}
    change = compare(before, after, REDACT)
    assert change is not None
    assert change.lines == [
        "~ deployment api: spec.replicas: 2 -> 3",
        "~ deployment api: spec.template.spec.containers[main].env[DB_PASSWORD].value: *** -> ***",
    ]
    assert compare(before, {**before, "status": {}}, REDACT) is None


def test_secrets_show_nothing_and_leave_no_trace() -> None:
    def secret(text: str) -> dict[str, Any]:
        return item("Secret", data={"a": base64.b64encode(text.encode()).decode()})

    first, second = (compare(secret("zero"), secret(text), REDACT) for text in ("one", "two"))
    assert first == second
    assert first is not None
    assert first.lines == ["~ secret x: data.a: *** -> ***"]


def test_leaves_of_lists() -> None:
    assert dict(leaves({"a": [{"name": "x", "v": 1}], "b": [1, 2], "c": [{"v": 1}]})) == {
        "a[x].name": "x",
        "a[x].v": 1,
        "b": [1, 2],
        "c[0].v": 1,
    }


def test_order() -> None:
    kinds = ["HorizontalPodAutoscaler", "Deployment", "Secret", "CustomResourceDefinition"]
    assert [one["kind"] for one in ordered([item(kind) for kind in kinds])] == kinds[::-1]


def change(kind: str, action: Any) -> ObjectChange:
    return ObjectChange(Id("v1", kind, "edge", "x"), action, fingerprint="f")


@pytest.mark.parametrize(
    ("kind", "action", "risk"),
    [
        ("Service", "create", Risk.LOW),
        ("Service", "update", Risk.MEDIUM),
        ("Service", "delete", Risk.HIGH),
        ("PersistentVolumeClaim", "delete", Risk.CRITICAL),
        ("RoleBinding", "create", Risk.HIGH),
        ("ClusterRole", "create", Risk.CRITICAL),
    ],
)
def test_risk(kind: str, action: Any, risk: Risk) -> None:
    assert plan(written(), [change(kind, action)], later=False).risk == risk


def test_only_what_was_approved() -> None:
    approved = plan(written(), [change("Service", "update")], later=False)
    check(approved, written())
    check_changes(approved, [change("Service", "update")])
    check_changes(approved, [])
    with pytest.raises(RefusedError, match="written: approved"):
        check(approved, written(config={"a": {"b": "c"}}))
    for other in (change("Pod", "create"), ObjectChange(Id("v1", "Service", "edge", "x"), "update")):
        with pytest.raises(StaleError, match="plan again"):
            check_changes(approved, [other])
    check_changes(plan(written(), [change("Pod", "create")], later=True), [change("Pod", "update")])


def test_only_what_was_approved_is_deleted() -> None:
    ids = [Id("v1", "Service", "edge", "x")]
    approved = plan_to_destroy(written(), ids)
    assert (approved.action, approved.risk) == ("destroy", Risk.CRITICAL)
    check_destroys(approved, written(), ids)
    with pytest.raises(RefusedError, match="pod edge/y was not approved"):
        check_destroys(approved, written(), [*ids, Id("v1", "Pod", "edge", "y")])
    with pytest.raises(RefusedError):
        check_destroys(approved, written(namespace="other"), ids)
