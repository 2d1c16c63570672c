"""Infrastructure: Terraform or OpenTofu, planned, approved, and applied as planned."""
