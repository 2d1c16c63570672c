from __future__ import annotations

import pytest

from triplane.images.parity import different


@pytest.mark.parametrize(
    ("served", "found"),
    [
        ({"aws": {"a": "1"}, "gcp": {"a": "1", "b": "2"}}, ()),
        ({"aws": {"a": "1"}, "gcp": {"a": None}}, ("gcp has a not at all, not as 1",)),
        (
            {"aws": {"a": "3"}, "gcp": {"a": "1", "b": "1"}},
            ("aws has a as 3, not as 1", "gcp has b as 1, not as 2"),
        ),
    ],
)
def test_what_differs(served: dict[str, dict[str, str | None]], found: tuple[str, ...]) -> None:
    assert different({"a": "1", "b": "2"}, served) == found
