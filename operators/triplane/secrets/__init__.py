"""Secrets where the clouds keep them: read when a task needs them, masked from then on."""
