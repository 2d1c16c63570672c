"""Values and tools every feature stands on; knows neither Airflow nor a cloud."""
