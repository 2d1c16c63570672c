"""The link from a task to its pipeline's run."""

from __future__ import annotations

from triplane.links import UrlLink

RUN_URL = "pipeline_url"


class PipelineLink(UrlLink):
    """The run, where the system shows it."""

    name = "Pipeline"
    key = RUN_URL
