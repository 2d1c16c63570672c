"""The ``triplane`` command."""
