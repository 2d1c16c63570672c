"""The page, for an Airflow that finds plugins in this folder. Where the package is installed, it brings the page along."""

from __future__ import annotations

from importlib.metadata import entry_points

if not entry_points(group="airflow.plugins", name="triplane"):
    from triplane.ui.plugin import TriplanePlugin

    __all__ = ["TriplanePlugin"]
