import { CLOUDS, add, ago, badge, choice, h, problem, say, short, state, words } from "./dom.js";
import { ROOT, read, startRun } from "./airflow.js";
import { ask } from "./dialog.js";
import { doOnce } from "./live.js";
import { toRun } from "./links.js";

const KINDS = { change_set: "planned", authorized: "let through", rollout: "rolled out" };

/** The ledger: what was planned, who let it through, what became of it. */
export async function show(main, parameters) {
  const { environment = "", cloud = "" } = parameters;
  const data = await read("history", environment ? { environment, cloud } : {});
  add(main, h("h1", {}, "History"), ...data.problems.map(problem));
  if (!data.scope) {
    add(main, h("p", { class: "empty" }, "There is no ledger that you may read."));
    return;
  }
  const key = (scope) => `${scope.environment}/${scope.cloud}`;
  const result = h("div", { role: "status" });
  const body = h("tbody");
  const more = h("button", { type: "button", click: () => next() }, "Earlier entries");
  let before = data.before;
  const next = async () => {
    const page = await read("history", { environment: data.scope.environment, cloud: data.scope.cloud, before });
    append(page);
  };
  const append = (page) => {
    before = page.before;
    add(body, ...page.entries.map((entry) => row(entry, data.scope, result)));
    more.hidden = before === null;
  };
  add(main,
    h("form", { class: "filters", submit: (event) => event.preventDefault() },
      choice("Ledger", data.scopes.map((scope) => [key(scope), `${scope.environment}, ${CLOUDS[scope.cloud]}`]), key(data.scope),
        (value) => {
          const [name, of] = value.split("/");
          location.assign(`history?${new URLSearchParams({ environment: name, cloud: of })}`);
        }),
      h("button", { type: "button", click: () => verify(data.scope, result) }, "Verify the ledger")),
    result,
    data.entries.length === 0 && h("p", { class: "empty" }, "Nothing was recorded yet."),
    h("div", { class: "scroll", role: "region", "aria-label": "Entries", tabindex: "0" }, h("table", {},
      h("thead", {}, h("tr", {}, ["#", "When", "What", "Run", "Revision", "Who and what", "Do"].map((text) => h("th", { scope: "col" }, text)))),
      body)), more);
  append(data);
}

function row(entry, scope, result) {
  const run = { dag_id: scope.dag_id, run_id: entry.run_id };
  const rolled = entry.kind === "rollout" && entry.intent !== "destroy";
  return h("tr", {},
    h("td", {}, entry.number),
    h("td", {}, ago(entry.at)),
    h("td", {}, words(KINDS[entry.kind] ?? entry.kind), entry.intent && entry.intent !== "deploy" && [" ", badge(entry.intent, "warn")],
      entry.risk && [" ", state(entry.risk, "risk")]),
    h("td", {}, entry.run_id && toRun(run)),
    h("td", {}, entry.revision && h("code", { title: entry.revision }, short(entry.revision))),
    h("td", {}, about(entry)),
    h("td", {}, h("div", { class: "actions" },
      entry.run_id && h("a", { class: "button", download: true, href: `${ROOT}triplane/api/evidence?${new URLSearchParams({ run_id: entry.run_id })}` }, "Evidence"),
      rolled && h("button", { type: "button", click: () => rollBack(entry, scope, result) }, "Roll back to here"))));
}

function about(entry) {
  const parts = [
    entry.about,
    entry.approved_by.length > 0 && `approved by ${entry.approved_by.join(", ")}`,
    entry.kind === "authorized" && !entry.approved_by.length && "the policy asks nobody for this risk",
    ...entry.reasons.map((text) => `“${text}”`),
    entry.emergency && `emergency: ${entry.emergency}`,
  ].filter(Boolean);
  return [parts.join("; "), Object.entries(entry.states).map(([name, count]) => [" ", state(name), ` ${count}`]),
    !parts.length && entry.digest && [" ", h("code", { title: entry.digest }, short(entry.digest))]];
}

async function rollBack(entry, scope, result) {
  const where = `${CLOUDS[scope.cloud]} in ${scope.environment}`;
  const text = [`It plans what ${entry.run_id} has deployed, revision ${short(entry.revision)}, and asks for approval as the policy says.`,
    "Nothing is changed before somebody has approved it."];
  if (!await ask({ title: `Roll back ${where}?`, text, action: "Plan the rollback", danger: true })) return;
  await doOnce(result, "Starting …", async () => {
    const run = await startRun(scope.dag_id, { environment: scope.environment, action: "rollback", to: entry.run_id });
    say("The rollback was started.");
    return h("p", {}, "Started ", toRun({ dag_id: scope.dag_id, run_id: run.dag_run_id }));
  });
}

function verify(scope, result) {
  return doOnce(result, "Verifying …", async () => {
    const found = await read("verification", { environment: scope.environment, cloud: scope.cloud });
    const seals = found.seals ? "" : " The seals were not checked: the signing key is for workers only; `triplane ledger verify` checks them there.";
    return [...found.problems.map(problem), ...found.broken.map(problem),
      h("p", {}, found.broken.length ? "The ledger is not to be trusted." : `The chain of ${found.entries} entries holds.${seals}`)];
  });
}
