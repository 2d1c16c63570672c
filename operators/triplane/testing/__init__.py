"""The platform's own tests: run before anything is deployed, in its source or in its images."""
