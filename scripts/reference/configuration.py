"""Airflow's options of the section ``[triplane]``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scripts.reference.markdown import page, table

from triplane.provider import get_provider_info

INTRO = (
    "Options of Airflow's configuration, as files (`airflow.cfg`), environment variables, or whatever else Airflow takes "
    "([its documentation](https://airflow.apache.org/docs/apache-airflow/stable/howto/set-config.html)). "
    "Which process needs which: [several machines](../guides/distributed.md#what-must-be-shared). "
    "Variables of the command `triplane`: [CI](../guides/ci.md)."
)


def reference() -> str:
    """The page."""
    sections: dict[str, Any] = get_provider_info()["config"]
    parts = (
        f"## [{name}]\n\n{section['description']}\n\n{_options(name, section)}"
        for name, section in sections.items()
    )
    return page("Configuration", INTRO, parts)


def _options(name: str, section: Any) -> str:
    return table(("option", "meaning", "default", "environment variable"), _rows(name, section["options"]))


def _rows(section: str, options: Any) -> Iterator[tuple[str, str, str, str]]:
    for name, option in options.items():
        example = f" Example: `{option['example']}`." if option["example"] else ""
        secret = " **Secret.**" if option["sensitive"] else ""
        default = f"`{option['default']}`" if option["default"] else "not set"
        variable = f"AIRFLOW__{section}__{name}".upper()
        yield f"`{name}`", option["description"] + example + secret, default, f"`{variable}`"
