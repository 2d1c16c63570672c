from triplane.factories.cloud import cloud_dag

dag = cloud_dag("gcp")
