"""The platform spec: the YAML that a user writes, as validated values."""
