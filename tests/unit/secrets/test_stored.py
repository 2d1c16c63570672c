"""The name of a secret in a cloud's store."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triplane.core.errors import InputError
from triplane.core.references import references
from triplane.secrets.stored import STORES, Stored

NAMES = st.text("abcXYZ019_/.+=@:!-", min_size=1).filter(lambda name: name.strip("/"))


@given(
    st.sampled_from(sorted(STORES)),
    st.from_regex(r"[a-z_]{1,20}", fullmatch=True),
    st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True),
    NAMES,
    st.sampled_from(["", "3", "AWSPREVIOUS"]),
    st.text(max_size=12),
)
def test_a_reference_stands_for_exactly_one_secret(
    store: str, connection: str, place: str, name: str, version: str, part: str
) -> None:
    stored = Stored(store, connection, place, name, version, part)
    assert Stored.parse(str(stored)) == stored
    assert references(f"a ${{{stored}}} b") == {str(stored)}


@pytest.mark.parametrize("text", ["vault://a@b/c", "ssm://aws_default/c", "ssm://a@b/", "shop/database"])
def test_other_texts_are_no_references(text: str) -> None:
    with pytest.raises(InputError, match="is not a reference to a secret, such as secretsmanager://"):
        Stored.parse(text)
