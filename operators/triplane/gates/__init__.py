"""What must be good before a release goes on."""
