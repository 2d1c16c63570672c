"""From the platform spec to DAGs. A DAG file needs one call and no more."""
