"""A world for the page to show: platforms, runs and records, as the real DAGs and workers would have left them."""
