"""Where the source lives: commit statuses and comments at GitHub and GitLab."""
