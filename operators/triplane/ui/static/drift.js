import { CLOUDS, add, ago, badge, choice, h, many, problem, put, say, state, words } from "./dom.js";
import { read, startRun } from "./airflow.js";
import { chart } from "./chart.js";
import { ask } from "./dialog.js";
import { doOnce } from "./live.js";
import { toRun } from "./links.js";

const STATES = ["missing", "drifted", "unmanaged_change", "unknown", "pending", "in_sync"];
const SHOWN = 200;

/** What is not as it was deployed, by what probably caused it. */
export async function show(main, parameters) {
  const data = await read("drift");
  const body = h("div");
  add(main, h("h1", {}, "Drift"), ...data.problems.map(problem));
  if (!data.environments.length) {
    add(main, h("p", { class: "empty" }, "There is no drift check that you may read."));
    return;
  }
  const names = data.environments.map((each) => each.environment);
  const draw = (name) => put(body, environment(data.environments.find((each) => each.environment === name)));
  const first = names.includes(parameters.environment) ? parameters.environment
    : (data.environments.find((each) => each.report) ?? data.environments[0]).environment;
  add(main, h("form", { class: "filters", submit: (event) => event.preventDefault() },
    choice("Environment", names.map((name) => [name, name]), first, draw)), body);
  draw(first);
}

function environment(each) {
  const report = each.report;
  const result = h("p", { role: "status" });
  const check = h("button", { type: "button", class: "primary", click: () => start(each, result) }, "Check drift now");
  if (!report) return [h("p", { class: "empty" }, `${each.environment} was never checked.`), check, result];
  const covered = report.coverage, run = { dag_id: report.dag_id, run_id: report.run_id };
  return [
    h("div", { class: "cards" }, STATES.map((name) => h("div", { class: "card number" }, h("strong", {}, report[name]), state(name)))),
    h("p", {}, "Checked ", ago(report.at), " by ", toRun(run), `: ${covered.checked} of ${covered.expected} components. `,
      covered.oldest_good && ["The oldest good check is that of ", h("strong", {}, covered.oldest_good.address), ", ", ago(covered.oldest_good.last_good), ". "],
      covered.never > 0 && `${covered.never} have never had one.`),
    h("div", { class: "actions" }, check), result,
    each.history.length > 0 && chart("Components over the last checks", history(each.history)),
    h("h2", {}, "By cause"), groups(report.groups),
    h("h2", {}, "By component"), components(report),
    ignores(report),
  ];
}

function history(entries) {
  const at = (entry) => Date.parse(entry.at);
  return [["drifted", "warn"], ["missing", "bad"], ["unknown", "busy"]].map(([name, kind]) => (
    { name: words(name), kind, points: entries.map((entry) => [at(entry), entry[name] + (name === "drifted" ? entry.unmanaged_change : 0)]) }));
}

async function start(each, result) {
  const text = `It starts a run of ${each.dag_id}, which only reads.`;
  if (!await ask({ title: `Check ${each.environment} for drift now?`, text, action: "Check" })) return;
  await doOnce(result, "Starting …", async () => {
    const run = await startRun(each.dag_id, { environment: each.environment });
    say("The drift check was started.");
    return ["Started ", toRun({ dag_id: each.dag_id, run_id: run.dag_run_id })];
  });
}

function groups(found) {
  if (!found.length) return h("p", { class: "empty" }, "Nothing has drifted.");
  return h("div", { class: "scroll", role: "region", "aria-label": "Causes", tabindex: "0" }, h("table", {},
    h("thead", {}, h("tr", {}, ["Cause", "Resources", "Clouds", "Components", "Since", "Alarm"].map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, found.map((group) => h("tr", {},
      h("th", { scope: "row" }, group.cause),
      h("td", {}, group.resources),
      h("td", {}, group.clouds.map((cloud) => CLOUDS[cloud] ?? cloud).join(", ")),
      h("td", {}, group.components.join(", "), group.components_total > group.components.length && ` and ${group.components_total - group.components.length} more`),
      h("td", {}, ago(group.since)),
      h("td", {}, group.alarm ? badge("alarm", "bad") : "not yet"))))));
}

function components(report) {
  const found = report.components.filter((item) => item.state !== "in_sync");
  if (!found.length) return h("p", { class: "empty" }, "Every component is as it was deployed.");
  const left = (report.left_out?.components ?? 0) + Math.max(found.length - SHOWN, 0);
  return [
    found.slice(0, SHOWN).map((item) => h("details", { class: "change" },
      h("summary", {}, h("strong", {}, item.address), " ", state(item.state), " ",
        item.resources.length > 0 && many(item.resources.length, "resource"), item.error && h("span", {}, item.error)),
      item.pending && h("p", {}, `Not applied yet: ${item.pending}`),
      h("p", { class: "quiet" }, "Last good check: ", ago(item.last_good)),
      h("ul", {}, item.resources.map((resource) => h("li", {}, h("strong", {}, resource.address), ` ${words(resource.action)}, since `, ago(resource.first_seen),
        resource.attributes.length > 0 && h("ul", { class: "diff" }, resource.attributes.map((attribute) =>
          h("li", { class: "changed" }, `${attribute.name}: ${attribute.before} → ${attribute.after}`)))))))),
    left > 0 && h("p", { class: "quiet" }, `${left} more are in the report of the run.`),
  ];
}

function ignores(report) {
  const listed = (name) => report.components.flatMap((item) => (item[name] ?? []).map((text) => [item.address, text]));
  return [
    notes("Left behind: no longer in the spec", Object.entries(report.left_behind ?? {})),
    notes("Ignored, until a date", listed("ignored")),
    notes("Ignored no longer", listed("expired")),
    notes("Cured since the last check", listed("cured")),
  ];
}

function notes(title, found) {
  return found.length > 0 && [h("h2", {}, title), h("ul", {}, found.map(([address, text]) => h("li", {}, h("strong", {}, address), ` ${text}`)))];
}
