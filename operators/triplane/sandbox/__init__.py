"""Three clouds on one machine: everything a deployment talks to, on the loopback interface."""
