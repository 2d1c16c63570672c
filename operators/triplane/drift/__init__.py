"""What has changed behind our back, in one report."""
