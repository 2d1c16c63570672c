"""Native pipelines: started once, found again, awaited without a worker, cancelled, explained."""
