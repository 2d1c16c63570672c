"""Stand-in for hashicorp/google."""
