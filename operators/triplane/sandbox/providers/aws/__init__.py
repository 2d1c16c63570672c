"""Stand-in for hashicorp/aws."""
