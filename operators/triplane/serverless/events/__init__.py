"""What calls functions by itself: event sources, which are configured rather than versioned."""
