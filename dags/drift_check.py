from triplane.factories.drift import drift_dag

dag = drift_dag()
