import { CLOUDS, add, ago, badge, choice, h, many, problem, search, short, state, words } from "./dom.js";
import { read } from "./airflow.js";
import { graph } from "./graph.js";
import { keepDoing, redraw } from "./live.js";
import { to, toRun } from "./links.js";

const STATES = ["deployed", "failed", "running", "waiting", "never"];
const DRIFT = ["missing", "drifted", "unmanaged_change", "unknown", "pending", "in_sync"];
const DRAWN = 250;
const EVERY = 20;

/** Every component in every environment. */
export async function show(main, parameters) {
  const filter = { text: "", cloud: "", environment: "", state: "", drift: "", drawn: false, dags: null };
  let data = await read("overview"), seen = JSON.stringify(data);
  const about = parameters.dag_id ? data.scopes.filter((scope) => names(scope).includes(parameters.dag_id)) : [];
  if (about.length) filter.dags = new Set(about.map((scope) => scope.dag_id));
  if (matchMedia("(max-width: 640px)").matches && data.environments.length > 1) filter.environment = data.environments[0];

  const head = h("div"), table = h("div"), runs = h("div"), counted = h("p", { class: "quiet", role: "status" });
  const draw = () => {
    redraw(head, heading(data, filter.dags));
    redraw(runs, runTable(data.runs));
    drawTable();
  };
  const drawTable = () => {
    const shown = data.components.filter((component) => matches(component, filter));
    const environments = data.environments.filter((name) => !filter.environment || name === filter.environment);
    counted.textContent = `${shown.length} of ${data.components.length} components`;
    redraw(table, filter.drawn ? picture(shown, data, environments) : rows(shown, environments));
  };
  add(main, h("h1", {}, "Deployments"), parameters.dag_id && only(parameters.dag_id, about), head, controls(data, filter, drawTable), counted, table,
    h("section", { "aria-label": "Last runs" }, h("h2", {}, "Last runs"), runs));
  draw();
  setTimeout(() => keepDoing(async () => {
    data = await read("overview");
    const now = JSON.stringify(data);
    if (now !== seen) draw();
    seen = now;
  }, EVERY, (error) => redraw(head, problem(error.message), heading(data, filter.dags))), EVERY * 1000);
}

/** The DAGs that a cloud in an environment belongs to. */
function names(scope) {
  return [scope.dag_id, scope.parent_dag_id, scope.drift_dag_id];
}

function only(dagId, about) {
  return h("p", { class: "notice" }, about.length ? `Only what ${dagId} is about. ` : `${dagId} is not a DAG of Triplane. `, to("overview", {}, "Everything"));
}

function heading(data, dags) {
  return [
    data.problems.map(problem),
    data.components.length === 0 && h("p", { class: "empty" },
      "There is no DAG of Triplane that you may read. DAGs are made from a platform spec; the guide “The page” says how."),
    h("div", { class: "cards" }, data.environments.map((name) => environment(name, data, dags))),
    data.waiting > 0 && h("p", { class: "notice" },
      to("approvals", {}, `${data.waiting === 1 ? "One run waits" : `${data.waiting} runs wait`} for an approval`)),
  ];
}

function environment(name, data, dags) {
  const cells = data.components.filter((component) => !dags || dags.has(component.dag_id)).map((component) => component.cells[name]).filter(Boolean);
  const count = (value) => cells.filter((cell) => cell.state === value).length;
  const checked = data.drift.find((drift) => drift.environment === name);
  const scopes = data.scopes.filter((scope) => scope.environment === name && (!dags || dags.has(scope.dag_id)));
  return h("section", { class: "card", "aria-label": name },
    h("h2", {}, name),
    h("ul", { class: "inline" }, scopes.map((scope) => h("li", {},
      h("span", {}, CLOUDS[scope.cloud], " "),
      scope.last ? toRun(scope.last, state(scope.last.state)) : badge("never", "plain")))),
    h("p", {}, `${count("deployed")} of ${cells.length} deployed`,
      count("failed") > 0 && [", ", h("strong", {}, `${count("failed")} failed`)],
      count("running") > 0 && `, ${count("running")} under way`),
    h("p", { class: "quiet" }, checked
      ? [to("drift", { environment: name }, checked.alarms ? many(checked.alarms, "drift alarm") : "no drift alarm"), ", checked ", ago(checked.at)]
      : "drift was never checked"));
}

function controls(data, filter, draw) {
  const set = (key) => (value) => {
    filter[key] = value;
    draw();
  };
  const clouds = [...new Set(data.scopes.map((scope) => scope.cloud))];
  const options = (all, values, text = words) => [["", all], ...values.map((value) => [value, text(value)])];
  return h("form", { class: "filters", role: "search", submit: (event) => event.preventDefault() },
    search("Component, version or run", filter.text, set("text")),
    choice("Cloud", options("All clouds", clouds, (cloud) => CLOUDS[cloud]), filter.cloud, set("cloud")),
    choice("Environment", options("All", data.environments, String), filter.environment, set("environment")),
    choice("State", options("Any", STATES), filter.state, set("state")),
    choice("Drift", options("Any", DRIFT), filter.drift, set("drift")),
    choice("Show as", [["", "Table"], ["graph", "Graph"]], "", (value) => set("drawn")(value === "graph")));
}

function matches(component, filter) {
  if (filter.dags && !filter.dags.has(component.dag_id)) return false;
  if (filter.cloud && !component.address.startsWith(`${filter.cloud}/`)) return false;
  const cells = Object.entries(component.cells)
    .filter(([name]) => !filter.environment || name === filter.environment).map(([, cell]) => cell);
  if (!cells.length) return false;
  if (filter.state && !cells.some((cell) => cell.state === filter.state)) return false;
  if (filter.drift && !cells.some((cell) => cell.drift === filter.drift)) return false;
  const text = filter.text;
  return !text || component.address.toLowerCase().includes(text)
    || cells.some((cell) => `${cell.version} ${cell.revision} ${cell.run_id}`.toLowerCase().includes(text));
}

function rows(shown, environments) {
  const heads = environments.map((name) => h("th", { scope: "col" }, name));
  const groups = Map.groupBy(shown, (component) => component.address.split("/")[0]);
  return h("div", { class: "scroll", role: "region", "aria-label": "Components", tabindex: "0" },
    h("table", { class: "matrix" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Component"), heads)),
      [...groups].map(([cloud, components]) => h("tbody", {},
        h("tr", {}, h("th", { class: "group", scope: "rowgroup", colspan: environments.length + 1 }, `${CLOUDS[cloud]} (${components.length})`)),
        components.map((component) => row(component, environments))))));
}

function row(component, environments) {
  const [, kind, ...name] = component.address.split("/");
  return h("tr", {},
    h("th", { scope: "row" }, name.join("/") || kind, h("span", { class: "kind" }, kind)),
    environments.map((environment) => h("td", {}, cellOf(component, component.cells[environment]))));
}

function cellOf(component, cell) {
  if (!cell) return h("span", { class: "quiet" }, "–");
  const version = short(cell.version || cell.revision);
  const run = { dag_id: component.dag_id, run_id: cell.run_id };
  return [
    state(cell.state),
    version && h("code", { title: cell.version }, cell.run_id ? toRun(run, version) : version),
    cell.drift && cell.drift !== "in_sync" && state(cell.drift, "what the last drift check found"),
  ];
}

function picture(shown, data, environments) {
  if (shown.length > DRAWN) return h("p", { class: "empty" }, `A graph of ${shown.length} components is not readable: filter to ${DRAWN} or fewer.`);
  const worst = (component) => {
    const states = environments.map((name) => component.cells[name]?.state).filter(Boolean);
    return STATES.toSorted((a, b) => LOUD.indexOf(b) - LOUD.indexOf(a)).find((name) => states.includes(name)) ?? "never";
  };
  return graph(shown.map((component) => ({ id: component.address, state: worst(component) })), data.edges);
}

const LOUD = ["never", "deployed", "running", "waiting", "failed"];

/** Runs as a table. */
export function runTable(runs) {
  if (!runs.length) return h("p", { class: "empty" }, "Nothing has run yet.");
  return h("div", { class: "scroll", role: "region", "aria-label": "Runs", tabindex: "0" }, h("table", {},
    h("thead", {}, h("tr", {}, ["Run", "Environment", "What", "State", "Started", "By"].map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, runs.map((run) => h("tr", {},
      h("td", {}, toRun(run)),
      h("td", {}, run.environment || "(default)"),
      h("td", {}, words(run.action)),
      h("td", {}, state(run.state)),
      h("td", {}, ago(run.started)),
      h("td", {}, run.by || "a schedule"))))));
}
