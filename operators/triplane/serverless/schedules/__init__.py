"""Schedules at each cloud."""
