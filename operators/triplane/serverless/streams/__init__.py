"""Event streams that functions are fed from, at each cloud."""
