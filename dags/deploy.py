from triplane.factories.parent import parent_dag

dag = parent_dag()
