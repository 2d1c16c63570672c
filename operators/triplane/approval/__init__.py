"""Asking people: what they read, how they answer, and what their answer is bound to."""
