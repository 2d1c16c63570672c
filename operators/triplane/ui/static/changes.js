import { CLOUDS, add, ago, badge, choice, h, problem, put, search, short, state } from "./dom.js";
import { read } from "./airflow.js";
import { to, toRun } from "./links.js";
import { runTable } from "./overview.js";

const FIRST = 60;
const SIGNS = [["! ", "alarm"], ["-/+ ", "replaced"], ["+/- ", "replaced"], ["+ ", "added"], ["- ", "removed"], ["~ ", "changed"]];

/** What a run would change, or has changed. */
export async function show(main, parameters) {
  if (!parameters.run_id) {
    add(main, h("h1", {}, "Changes"), h("p", {}, "Choose a run, then its changes:"), runTable((await read("runs")).runs));
    return;
  }
  const { dag_id, run_id } = parameters;
  const data = await read("changes", { dag_id, run_id });
  const filter = { text: "", action: "" };
  const body = h("div");
  const draw = () => put(body, ...data.clouds.map((cloud) => section(cloud, filter)));
  add(main,
    h("h1", {}, "Changes"),
    h("p", {}, toRun(data.run), ` in ${data.run.environment || "the first environment"}, asked for by ${data.run.by || "a schedule"}, `, ago(data.run.started)),
    ...data.problems.map(problem),
    data.clouds.length ? controls(filter, draw) : h("p", { class: "empty" }, "This run has no change set: it is still planning, or its plan has failed."),
    body);
  draw();
}

function controls(filter, draw) {
  return h("form", { class: "filters", role: "search", submit: (event) => event.preventDefault() },
    search("Component, resource or field", "", (text) => { filter.text = text; draw(); }),
    choice("Action", [["", "All changes"], ...["create", "update", "replace", "destroy", "deferred", "none"].map((name) => [name, name])], "",
      (action) => { filter.action = action; draw(); }));
}

function section(cloud, filter) {
  const changed = cloud.changes.filter((change) => change.action !== "none");
  const shown = cloud.changes.filter((change) => matches(change, filter));
  const rest = cloud.changes.length - changed.length;
  const denied = cloud.changes.flatMap((change) => change.denied.map((text) => `${change.address}: ${text}`));
  return h("section", { class: "card wide", "aria-label": CLOUDS[cloud.cloud] },
    h("h2", {}, CLOUDS[cloud.cloud], " ", state(cloud.risk, "the highest risk of any change"), " ",
      cloud.intent !== "deploy" && badge(cloud.intent, "warn")),
    cloud.emergency && problem(`Emergency: ${cloud.emergency}`),
    denied.length > 0 && [h("h3", {}, "Denied by policy"), h("ul", {}, denied.map((text) => h("li", { class: "alarm" }, text)))],
    facts([
      ["Changes", `${changed.length} of ${cloud.changes.length} components`],
      ["Revision", [h("code", { title: cloud.revision }, short(cloud.revision)), cloud.asked !== cloud.revision && ` (asked for as ${cloud.asked})`]],
      ["Planned", ago(cloud.planned_at)],
      ["Policy", cloud.policy.join("; ")],
      cloud.release && ["Release", cloud.release],
      cloud.tests.length && ["Tests", h("ul", {}, cloud.tests.map((text) => h("li", {}, text)))],
      ["Digest", h("code", { class: "long" }, cloud.digest)],
    ]),
    wayBack(cloud),
    shown.map((change) => component(change, filter)),
    !filter.text && filter.action === "" && rest > 0 && h("p", { class: "quiet" }, `${rest} components stay as they are.`));
}

function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(Boolean).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

function matches(change, filter) {
  if (filter.action ? change.action !== filter.action : change.action === "none" && !filter.text) return false;
  if (!filter.text) return true;
  return [change.address, change.summary, ...change.lines].some((text) => text.toLowerCase().includes(filter.text));
}

function component(change, filter) {
  const lines = filter.text && !change.address.toLowerCase().includes(filter.text)
    ? change.lines.filter((line) => line.toLowerCase().includes(filter.text)) : change.lines;
  const list = h("ol", { class: "diff", role: "list" }, lines.slice(0, FIRST).map(lineOf));
  const more = lines.length > FIRST && h("button", { type: "button", click: (event) => {
    add(list, ...lines.slice(FIRST).map(lineOf));
    list.children[FIRST]?.focus();
    event.currentTarget.remove();
  } }, `Show all ${lines.length} lines`);
  return h("details", { class: "change", open: change.action !== "none" && lines.length <= 12 },
    h("summary", {}, h("strong", {}, change.address), " ", state(change.action), " ", state(change.risk, "risk"), " ",
      h("span", {}, change.summary), counts(lines)),
    change.now && h("p", { class: "quiet" }, "Deployed now: ", h("code", { class: "long" }, change.now)),
    Object.keys(change.binds).length > 0 && h("details", {}, h("summary", {}, "What an approval of it is bound to"), facts(Object.entries(change.binds).map(([name, value]) => [name, h("code", { class: "long" }, String(value))]))),
    change.denied.map((text) => h("p", { class: "alarm" }, `Denied by policy: ${text}`)),
    list, more);
}

/** `+12 ~3 -1` of a component's resources or objects. */
function counts(lines) {
  const tops = lines.filter((line) => !/^\s/.test(line));
  const count = (kind) => tops.filter((line) => kindOf(line) === kind).length;
  const told = [["added", "to add"], ["changed", "to change"], ["replaced", "to replace"], ["removed", "to remove"]]
    .map(([kind, text]) => count(kind) && h("span", { class: kind }, `${count(kind)} ${text}`)).filter(Boolean);
  return told.length > 0 && h("span", { class: "counts" }, told);
}

function kindOf(line) {
  return SIGNS.find(([sign]) => line.trimStart().startsWith(sign))?.[1] ?? "";
}

function lineOf(line) {
  return h("li", { class: kindOf(line), tabindex: "-1" }, line);
}

/** Where a rollback would go, read when somebody wants to know. */
function wayBack(cloud) {
  const box = h("div", { role: "status" });
  const load = async (event) => {
    if (!event.currentTarget.open || box.hasChildNodes()) return;
    add(box, "Reading the ledger …");
    try {
      const found = await read("way-back", { environment: cloud.environment, cloud: cloud.cloud });
      put(box, ...found.problems.map(problem), told(found));
    } catch (error) {
      put(box, problem(error.message));
    }
  };
  return h("details", { toggle: load }, h("summary", {}, "What a rollback would do now"), box);
}

function told(found) {
  if (found.reason) return h("p", {}, found.reason);
  const others = found.changes.length;
  return h("div", {},
    h("p", {}, "It goes back to revision ", h("code", { title: found.revision }, short(found.revision)), ", which ",
      h("code", {}, found.run_id), " has deployed. It is planned and approved like any deployment. ",
      others ? `${others} of the components that are there now were not there then, or were another version:` : "Every component has the same version now as then."),
    others > 0 && h("ul", {}, found.changes.slice(0, FIRST).map((address) => h("li", {}, address)),
      others > FIRST && h("li", {}, `and ${others - FIRST} more`)),
    h("p", {}, to("history", { environment: found.environment, cloud: found.cloud }, "Roll back from the history")));
}
