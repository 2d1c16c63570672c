"""Telling people: who gets which message, and through what."""
