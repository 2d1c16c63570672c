"""Tells people what happens: routes, channels, and the messages themselves."""
