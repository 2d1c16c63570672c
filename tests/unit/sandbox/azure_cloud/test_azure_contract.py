"""What is read from the SDKs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def document(contract_file: Path) -> Any:
    return json.loads(contract_file.read_text())


def test_every_type_can_be_put(document: Any) -> None:
    puts = [item["template"].lower() for item in document["operations"] if item["method"] == "PUT"]
    for kind in document["bodies"]:
        namespace, _, names = kind.partition("/")
        first = names.split("/")[0]
        wanted = f"/{first}/" if namespace == "microsoft.resources" else f"/providers/{namespace}/{first}/"
        assert any(wanted in template for template in puts), kind


def test_fields_say_what_the_service_alone_writes(document: Any) -> None:
    site = document["models"]["web.SiteProperties"]
    assert site["defaultHostName"] == {"type": "str", "readonly": True, "required": False}
    assert site["siteConfig"]["type"] == {"model": "web.SiteConfig"}
    assert document["models"]["web.Site"]["location"]["required"]


def test_flattened_properties_of_older_sdks_are_nested(document: Any) -> None:
    assert document["models"]["msi.Identity"]["properties"]["type"] == {"model": "msi.Identity.properties"}
    assert document["models"]["msi.Identity.properties"]["clientId"]["readonly"]
