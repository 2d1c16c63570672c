"""Digests, references, redaction, changes, the store and the ledger."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from triplane.core.change import ChangeSet, ComponentChange, Result, Risk
from triplane.core.digest import canonical_json, digest, digest_tree
from triplane.core.errors import InputError, RefusedError
from triplane.core.redact import Redactor
from triplane.core.references import references, resolve
from triplane.core.store import ArtifactStore


def test_digest_of_a_tree_sees_content_names_and_modes_but_not_times(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b").write_text("2")
    first = digest_tree(tmp_path)
    (tmp_path / "a").touch()
    assert digest_tree(tmp_path) == first
    (tmp_path / "a").chmod(0o755)
    second = digest_tree(tmp_path)
    (tmp_path / "sub" / "b").rename(tmp_path / "sub" / "c")
    third = digest_tree(tmp_path)
    assert len({first, second, third}) == 3
    assert digest_tree(tmp_path, ignore=["sub/*"]) != third


def test_canonical_json_is_one_form() -> None:
    assert canonical_json({"b": 1, "a": [1, "é"]}) == '{"a":[1,"é"],"b":1}'.encode()
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


def test_references_keep_types_and_say_what_is_missing() -> None:
    values = {"network.ids": ["a", "b"], "network.name": "n"}
    assert references({"x": ["${network.ids}"], "y": "pre-${ network.name }-post", "z": 3}) == set(values)
    assert resolve({"x": "${network.ids}", "y": "p-${network.name}"}, values.__getitem__) == {
        "x": ["a", "b"],
        "y": "p-n",
    }
    with pytest.raises(InputError, match=r"\$\{gone\.x\} has no value"):
        resolve("${gone.x}", values.__getitem__)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("aws AKIAIOSFODNN7EXAMPLE end", "AKIAIOSFODNN7EXAMPLE"),
        ("Authorization: bearer x eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sig", "eyJzdWIiOiIxIn0"),
        ('password = "hunter22"', "hunter22"),
        ("DB_PASSWORD: hunter22", "hunter22"),
        ("https://user:pa55word@host/x", "pa55word"),
        (
            "AccountName=x;AccountKey=Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4+/==;Endpoint",
            "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4+/==",
        ),
        ("https://x.blob.core.windows.net/c?sv=1&sig=Zm9vYmFyYmF6cXV4Zm9v%3D", "Zm9vYmFyYmF6cXV4Zm9v%3D"),
        ("key AIzaSyA1234567890abcdefghijklmnopqrstuv", "AIzaSyA1234567890abcdefghijklmnopqrstuv"),
        ("glpat-abcdefghij0123456789", "glpat-abcdefghij0123456789"),
        ("github_pat_11ABCDEFG0abcdefghijkl_xyz", "github_pat_11ABCDEFG0abcdefghijkl_xyz"),
        ("vault hvs.CAESIJabcdefghijklmnop", "hvs.CAESIJabcdefghijklmnop"),
        ("Authorization: Basic dXNlcjpwYXNzd29yZA==", "dXNlcjpwYXNzd29yZA=="),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----", "abc"),
    ],
)
def test_secret_shapes_are_hidden(text: str, hidden: str) -> None:
    assert hidden not in Redactor()(text)


def test_known_secrets_are_hidden_and_ordinary_text_is_not() -> None:
    redact = Redactor(["line one\nline two", "abc"])
    assert redact("x line two y") == "x *** y"
    assert redact("abc") == "abc"
    assert (
        redact("3 to add, token bucket, secrets: ${secret.x}")
        == "3 to add, token bucket, secrets: ${secret.x}"
    )
    assert redact.value({"api_key": "zzz", "n": 1, "l": ["line one"]}) == {
        "api_key": "***",
        "n": 1,
        "l": ["***"],
    }


def change(address: str = "aws/stack/network", risk: Risk = Risk.LOW, **binds: str) -> ComponentChange:
    action = "none" if risk is Risk.NONE else "create"
    return ComponentChange(
        address=address, action=action, risk=risk, summary="1 to add", lines=("+ x",), binds=binds
    )  # type: ignore[arg-type]


def change_set(*changes: ComponentChange) -> ChangeSet:
    return ChangeSet(
        platform="p",
        environment="staging",
        cloud="aws",
        asked="main",
        revision="r",
        planned_at="2026-01-01T00:00:00+00:00",
        source="s",
        spec="t",
        policy={},
        changes=changes,
    )


def test_change_sets_round_trip_and_any_difference_is_another_digest() -> None:
    first = change_set(change(plan="sha256:1"))
    assert ChangeSet.from_json(json.loads(canonical_json(first.to_json()))) == first
    assert first.digest != change_set(change(plan="sha256:2")).digest
    assert first.risk is Risk.LOW
    both = change_set(change(), change("aws/chart/x", Risk.NONE))
    assert [item.address for item in both.changed] == ["aws/stack/network"]
    assert both.change("aws/chart/x") is not None
    assert both.change("aws/chart/y") is None
    result = Result(address="a", version="1", state="deployed", seconds=1.23)
    assert Result.from_json(result.to_json()).seconds == 1.2


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path, [Fernet.generate_key().decode()])


def test_store_keeps_nothing_in_the_clear(store: ArtifactStore, tmp_path: Path) -> None:
    name = store.put(b"plan with hunter22")
    assert store.get(name) == b"plan with hunter22"
    store.put_named("outputs/x", b"hunter22")
    assert store.get_named("outputs/x") == b"hunter22"
    assert store.get_named("outputs/y") is None
    assert all(b"hunter22" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_store_refuses_one_changed_byte(store: ArtifactStore, tmp_path: Path) -> None:
    name = store.put(b"plan")
    (blob,) = (tmp_path / "blobs").iterdir()
    data = bytearray(blob.read_bytes())
    data[40] ^= 1
    blob.write_bytes(bytes(data))
    with pytest.raises(RefusedError, match="was changed after it was stored"):
        store.get(name)
    with pytest.raises(RefusedError, match="not in the artifact store"):
        store.get("sha256:" + "0" * 64)
    with pytest.raises(InputError, match="not a digest"):
        store.get("../../etc/passwd")


def test_store_refuses_an_artifact_put_in_anothers_place(store: ArtifactStore, tmp_path: Path) -> None:
    good, bad = store.put(b"good"), store.put(b"bad")
    path = tmp_path / "blobs"
    (path / good.removeprefix("sha256:")).write_bytes((path / bad.removeprefix("sha256:")).read_bytes())
    with pytest.raises(RefusedError):
        store.get(good)


def test_store_keys_rotate(tmp_path: Path) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    name = ArtifactStore(tmp_path, [old]).put(b"x")
    assert ArtifactStore(tmp_path, [new, old]).get(name) == b"x"
    with pytest.raises(RefusedError, match="key is gone"):
        ArtifactStore(tmp_path, [new]).get(name)
    with pytest.raises(InputError, match="Fernet keys"):
        ArtifactStore(tmp_path, ["short"])
