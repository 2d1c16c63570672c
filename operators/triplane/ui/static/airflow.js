// Reads what the page shows, and acts through Airflow's own REST API as whoever is signed in.

/** The path that Airflow is served below: this page is at `<root>triplane/<view>`. */
export const ROOT = location.pathname.replace(/triplane\/[^/]*$/, "");

/** An answer that is an error; `message` says what Airflow said. */
class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The page's own data: `read("changes", {dag_id, run_id})`. */
export function read(name, parameters = {}) {
  return call("GET", `${ROOT}triplane/api/${name}?${new URLSearchParams(parameters)}`);
}

/** Airflow's REST API: `act("POST", ["dags", dag_id, "dagRuns"], {...})`. */
function act(method, parts, body) {
  return call(method, `${ROOT}api/v2/${parts.map(encodeURIComponent).join("/")}`, body);
}

async function call(method, url, body) {
  const headers = { Accept: "application/json", ...(body ? { "Content-Type": "application/json" } : {}) };
  let answer;
  try {
    answer = await fetch(url, { method, headers, body: body && JSON.stringify(body), credentials: "same-origin" });
  } catch {
    throw new Refused(0, "Airflow cannot be reached; this page tries again.");
  }
  const text = await answer.text();
  if (!answer.ok) throw new Refused(answer.status, said(answer.status, text));
  return text ? JSON.parse(text) : null;
}

function said(status, text) {
  if (status === 401) return "You are not signed in any more: reload the page.";
  let detail;
  try {
    detail = JSON.parse(text).detail;
  } catch {
    detail = text;
  }
  const words = typeof detail === "string" ? detail : JSON.stringify(detail);
  return status === 403 ? `You may not do this. ${words === "Forbidden" ? "" : words}`.trim() : words || `Airflow answered ${status}.`;
}

/** Start a run of a DAG. */
export function startRun(dagId, conf) {
  return act("POST", ["dags", dagId, "dagRuns"], { logical_date: null, conf });
}

/** Clear a task and what follows, so that it is tried again. */
export function retry(task) {
  const named = task.map_index >= 0 ? [task.task_id, task.map_index] : task.task_id;
  return act("POST", ["dags", task.dag_id, "clearTaskInstances"], {
    dry_run: false, dag_run_id: task.run_id, task_ids: [named], include_downstream: true, only_failed: false, reset_dag_runs: true,
  });
}

/** Answer an approval. */
export function decide(run, vote, option, params) {
  const parts = ["dags", run.dag_id, "dagRuns", run.run_id, "taskInstances", vote.task_id, vote.map_index, "hitlDetails"];
  return act("PATCH", parts, { chosen_options: [option], params_input: params });
}

/** The end of a task's log, as lines of text. */
export async function logTail(task, lines = 200) {
  const parts = ["dags", task.dag_id, "dagRuns", task.run_id, "taskInstances", task.task_id, "logs", Math.max(task.attempt, 1)];
  const url = `${ROOT}api/v2/${parts.map(encodeURIComponent).join("/")}?map_index=${task.map_index}&full_content=true`;
  const found = await call("GET", url);
  const content = Array.isArray(found?.content) ? found.content : [];
  return content.map(logLine).filter((line) => line && !line.startsWith("::")).slice(-lines);
}

function logLine(item) {
  if (typeof item === "string") return item;
  const level = ["warning", "error", "critical"].includes(item.level) ? `${item.level.toUpperCase()} ` : "";
  const errors = (item.error_detail ?? []).map((error) => `${error.exc_type}: ${error.exc_value}`);
  return [`${level}${item.event ?? ""}`, ...errors].join(" ");
}

/** The address of a task in Airflow's own pages. */
export function taskPath(task) {
  const mapped = task.map_index >= 0 ? `/mapped/${task.map_index}` : "";
  const [dag, run, name] = [task.dag_id, task.run_id, task.task_id].map(encodeURIComponent);
  return `${ROOT}dags/${dag}/runs/${run}/tasks/${name}${mapped}`;
}

/** The address of a run in Airflow's own pages. */
export function runPath(run) {
  return `${ROOT}dags/${encodeURIComponent(run.dag_id)}/runs/${encodeURIComponent(run.run_id)}`;
}

/** Follow a link out of the frame. A sandboxed frame may not navigate the window, so Airflow's router is asked to. */
export function leave(event) {
  const outer = window.parent;
  if (outer === window || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  const index = (outer.history.state?.idx ?? 0) + 1;
  outer.history.pushState({ usr: null, key: "triplane", idx: index }, "", event.currentTarget.href);
  outer.dispatchEvent(new outer.PopStateEvent("popstate", { state: outer.history.state }));
}
