"""Virtual machines, configured with Ansible."""
