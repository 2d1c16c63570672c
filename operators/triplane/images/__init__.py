"""Container images: built once, kept by digest, pushed to every cloud's registry unchanged."""
