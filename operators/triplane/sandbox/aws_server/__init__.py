"""The AWS emulator: moto behind checks that the real APIs make. Runs in an environment of its own."""
