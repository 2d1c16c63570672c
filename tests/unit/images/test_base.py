from __future__ import annotations

import pytest

from triplane.images.base import bases, pin, with_labels
from triplane.images.reference import Reference

DIGEST = "sha256:" + "a" * 64
BUSYBOX = f"docker.io/library/busybox@{DIGEST}"


def names(dockerfile: str, **args: str) -> list[str]:
    return [str(base.reference) if base.reference else base.written for base in bases(dockerfile, args)]


@pytest.mark.parametrize(
    ("dockerfile", "expected"),
    [
        ("FROM busybox:1.36\n", ["docker.io/library/busybox:1.36"]),
        ("from busybox\n", ["docker.io/library/busybox"]),
        ("FROM scratch\n", []),
        ("FROM --platform=linux/arm64 x.io/a:1 AS b\nFROM b\n", ["x.io/a:1"]),
        ("FROM x.io/a:1 AS Build\nFROM scratch\nCOPY --from=build /a /a\n", ["x.io/a:1"]),
        ("FROM x.io/a:1\nCOPY --chown=1 --from=x.io/b:2 /a /a\n", ["x.io/a:1", "x.io/b:2"]),
        ("FROM x.io/a:1\nFROM scratch\nCOPY --from=0 /a /a\n", ["x.io/a:1"]),
        ("FROM x.io/a:1\nRUN --mount=type=bind,from=x.io/b:2,target=/b cat /b\n", ["x.io/a:1", "x.io/b:2"]),
        ("ARG V=1\nFROM x.io/a:$V\n", ["x.io/a:1"]),
        ('ARG V="1"\nFROM x.io/a:${V}\n', ["x.io/a:1"]),
        ("FROM x.io/a:${V:-7}\n", ["x.io/a:7"]),
        ("ARG V\nFROM x.io/a:$V\n", ["x.io/a:$V"]),
        ("FROM x.io/a:1\nARG V=2\nFROM x.io/b:$V\n", ["x.io/a:1", "x.io/b:$V"]),
        ("# FROM x.io/no:1\nFROM \\\n  x.io/a:1\n", ["x.io/a:1"]),
        ("FROM x.io/a:1\nRUN <<EOF\nfrom os import path\nEOF\nFROM x.io/b:1\n", ["x.io/a:1", "x.io/b:1"]),
        ("FROM x.io/a:1\nRUN cat <<NEVER\nFROM x.io/b:1\n", ["x.io/a:1", "x.io/b:1"]),
        ("FROM x.io/a:1\nRUN echo \\\n# comment\n  FROM me\n", ["x.io/a:1"]),
        ("FROM x.io/a:1\r\nRUN true\r\n", ["x.io/a:1"]),
    ],
)
def test_what_a_dockerfile_builds_on(dockerfile: str, expected: list[str]) -> None:
    assert names(dockerfile) == expected


def test_an_argument_of_the_build_counts_more_than_its_default() -> None:
    assert names("ARG V=1\nFROM x.io/a:$V\n", V="2") == ["x.io/a:2"]


def test_every_base_is_pinned_and_asked_for_once() -> None:
    asked: list[str] = []

    def resolve(reference: Reference) -> str:
        asked.append(str(reference))
        return DIGEST

    dockerfile = (
        "# syntax\nFROM --platform=linux/amd64 busybox:1.36 AS b\nRUN echo busybox:1.36\n"
        f"FROM busybox:1.36\nCOPY --from=b /a /a\nCOPY --from=x.io/c@{DIGEST} /c /c\n"
    )
    assert pin(dockerfile, {}, resolve) == (
        f"# syntax\nFROM --platform=linux/amd64 {BUSYBOX} AS b\nRUN echo busybox:1.36\n"
        f"FROM {BUSYBOX}\nCOPY --from=b /a /a\nCOPY --from=x.io/c@{DIGEST} /c /c\n"
    )
    assert asked == ["docker.io/library/busybox:1.36"]


def test_labels_are_quoted() -> None:
    labelled = with_labels("FROM scratch", {"b": 'say "$HOME"\\', "a": "1"})
    assert labelled == 'FROM scratch\nLABEL "a"="1"\nLABEL "b"="say \\"\\$HOME\\"\\\\"\n'
