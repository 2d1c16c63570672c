"""The page "Deployments" in Airflow's UI: what is deployed where, what waits for people, what has drifted."""
