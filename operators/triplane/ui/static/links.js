import { h } from "./dom.js";
import { leave, runPath, taskPath } from "./airflow.js";

/** A link to another view of this page. */
export function to(view, parameters, ...children) {
  return h("a", { href: `${view}?${new URLSearchParams(parameters)}` }, ...children);
}

/** A link to the rollout of a run. */
export function toRun(run, ...children) {
  return to("rollout", { dag_id: run.dag_id, run_id: run.run_id }, children.length ? children : run.run_id);
}

/** A link to a run in Airflow's own pages. */
export function runInAirflow(run) {
  return h("a", { href: runPath(run), click: leave }, "Run in Airflow");
}

/** A link to a task in Airflow's own pages. */
export function taskInAirflow(task) {
  return h("a", { href: taskPath(task), click: leave }, "Task in Airflow");
}
