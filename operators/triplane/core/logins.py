"""Ways into virtual machines for which a cloud lets a key of the run in."""

LOGINS = {"ec2_instance_connect": "aws", "os_login": "gcp"}
"""Way to log in -> the cloud that has it."""
