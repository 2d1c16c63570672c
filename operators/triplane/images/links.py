"""Links from a task to where its work can be watched."""

from __future__ import annotations

from triplane.links import UrlLink

BUILD_URL = "build_url"


class BuildLink(UrlLink):
    """The build and its log in the cloud's console."""

    name = "Build"
    key = BUILD_URL
