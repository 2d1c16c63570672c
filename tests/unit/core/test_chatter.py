"""What Azure's SDK says of each request."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from triplane.core.chatter import quiet_azure


@pytest.fixture
def requests() -> Iterator[logging.Logger]:
    logger = logging.getLogger("azure.core.pipeline.policies.http_logging_policy")
    before = logger.level
    logger.setLevel(logging.NOTSET)
    yield logger
    logger.setLevel(before)


def test_it_stays_out_of_the_log_unless_somebody_wants_it(requests: logging.Logger) -> None:
    quiet_azure()
    assert not requests.isEnabledFor(logging.INFO)
    requests.setLevel(logging.DEBUG)
    quiet_azure()
    assert requests.isEnabledFor(logging.DEBUG)
