"""Cloud Run, Cloud Functions and Cloud Scheduler."""
