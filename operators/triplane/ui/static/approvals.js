import { CLOUDS, add, ago, badge, h, problem, put, say, short, state, until } from "./dom.js";
import { decide, read } from "./airflow.js";
import { ask } from "./dialog.js";
import { doOnce, keepDoing, redraw } from "./live.js";
import { to, toRun } from "./links.js";

/** What waits for people, and the form to decide it. */
export async function show(main) {
  const list = h("div"), drafts = new Map();
  add(main, h("h1", {}, "Approvals"), list);
  let seen = "";
  await keepDoing(async () => {
    const data = await read("approvals");
    const now = JSON.stringify(data);
    if (now !== seen) redraw(list, answer(data, drafts, () => { seen = ""; }));
    seen = now;
  }, 8, (error) => redraw(list, problem(error.message)));
}

function answer(data, drafts, changed) {
  const mine = data.approvals.filter((each) => each.mine), others = data.approvals.filter((each) => !each.mine);
  return [
    data.problems.map(problem),
    h("h2", {}, "Waiting for me"),
    mine.length ? mine.map((each) => card(each, drafts, changed)) : h("p", { class: "empty" }, `Nothing waits for ${data.user}.`),
    others.length > 0 && [h("h2", {}, "Waiting for others"), others.map((each) => card(each, drafts, changed))],
  ];
}

function card(item, drafts, changed) {
  const done = item.votes.filter((vote) => vote.option);
  return h("section", { class: "card wide", "aria-label": item.subject },
    h("h3", {}, item.subject),
    h("p", {}, toRun(item.run), `, asked for by ${item.requester || "a schedule"}, `, ago(item.run.started), "; expires ", until(item.expires_at), ". ",
      !item.text && to("changes", { dag_id: item.run.dag_id, run_id: item.run.run_id }, "Read the whole change set")),
    item.text ? h("pre", { class: "text" }, item.text) : clouds(item),
    quorum(item, done),
    item.hidden.length > 0 && h("p", { class: "notice" },
      `Not shown: ${item.hidden.map((cloud) => CLOUDS[cloud] ?? cloud).join(", ")}. You may not read those DAGs, or their change sets are not in the artifact store.`),
    !item.as_stored && problem("The change sets of this run are not the ones that its form asks about: start a new run."),
    item.mine ? form(item, drafts, changed) : h("p", { class: "quiet" }, item.why_not));
}

function clouds(item) {
  return h("div", { class: "scroll", role: "region", "aria-label": "Change sets", tabindex: "0" }, h("table", {},
    h("thead", {}, h("tr", {}, ["Cloud", "Changes", "Risk", "What", "Revision", "Digest"].map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, item.clouds.map((cloud) => h("tr", {},
      h("th", { scope: "row" }, CLOUDS[cloud.cloud]),
      h("td", {}, cloud.changed),
      h("td", {}, state(cloud.risk)),
      h("td", {}, cloud.intent, cloud.emergency && [" ", badge(`emergency: ${cloud.emergency}`, "bad")]),
      h("td", {}, h("code", { title: cloud.revision }, short(cloud.revision))),
      h("td", {}, h("code", { title: cloud.digest }, short(cloud.digest))))))));
}

function quorum(item, done) {
  const groups = Object.entries(item.groups).map(([name, users]) => `Somebody of ${name} (${users.join(", ")}) must be among them.`);
  return [
    h("p", {}, h("strong", {}, `${done.length} of ${item.votes.length} have answered. `),
      item.assigned.length > 0 && `Asked are ${item.assigned.join(", ")}. `, groups.join(" ")),
    done.length > 0 && h("ul", {}, done.map((vote) => h("li", {},
      `${vote.responder}: ${vote.option}`, vote.held.length > 0 && `, holds back ${vote.held.map((cloud) => CLOUDS[cloud] ?? cloud).join(", ")}`,
      vote.reason && `: ${vote.reason}`, " ", ago(vote.answered_at)))),
  ];
}

function form(item, drafts, changed) {
  const id = `${item.run.dag_id}/${item.run.run_id}/${item.task_id}`;
  const draft = drafts.get(id) ?? { reason: "", ticked: new Set() };
  drafts.set(id, draft);
  const result = h("p", { role: "status" });
  const reason = h("textarea", { rows: 2, "data-key": `reason ${id}`, required: item.reason_needed, value: draft.reason,
    input: () => { draft.reason = reason.value; } });
  const choices = Object.entries(item.choices).map(([name, title]) => {
    const box = h("input", { type: "checkbox", checked: draft.ticked.has(name), "data-key": `${name} ${id}`,
      change: () => (box.checked ? draft.ticked.add(name) : draft.ticked.delete(name)) });
    return h("label", { class: "check" }, box, title);
  });
  const send = async (option) => {
    if (item.reason_needed && !draft.reason.trim()) {
      put(result, problem("The policy of this environment wants a reason."));
      reason.focus();
      return;
    }
    if (!await ask(question(item, draft, option))) return;
    const ticked = Object.fromEntries(Object.keys(item.choices).map((name) => [name, draft.ticked.has(name)]));
    await doOnce(result, "Sending …", async () => {
      await decide(item.run, item.open, option, { digest: item.digest, reason: draft.reason.trim(), ...ticked });
      drafts.delete(id);
      changed();
      say(`${option}: sent.`);
      return `${option}: sent. A worker checks it and signs it.`;
    });
  };
  return h("form", { class: "decide", submit: (event) => event.preventDefault() },
    h("label", { class: "field" }, h("span", {}, item.reason_needed ? "Reason" : "Reason (optional)"), reason),
    choices.length > 0 && h("fieldset", {}, h("legend", {}, item.text ? "Also" : "Veto for single clouds"), choices),
    h("div", { class: "actions" },
      h("button", { type: "button", class: "primary", disabled: !item.as_stored, "data-key": `approve ${id}`, click: () => send("Approve") }, "Approve"),
      h("button", { type: "button", class: "danger", "data-key": `reject ${id}`, click: () => send("Reject") }, "Reject")),
    result);
}

function question(item, draft, option) {
  const held = item.clouds.filter((cloud) => draft.ticked.has(`hold_${cloud.cloud}`)).map((cloud) => CLOUDS[cloud.cloud]);
  const going = item.clouds.filter((cloud) => !draft.ticked.has(`hold_${cloud.cloud}`));
  const text = item.text ? [] : option === "Approve"
    ? [going.map((cloud) => `${CLOUDS[cloud.cloud]}: ${cloud.changed} changes, risk ${cloud.risk}`).join("; ") + ".",
       ...(held.length ? [`You hold back ${held.join(", ")}.`] : [])]
    : ["The run ends here: nothing of it is applied."];
  return { title: `${option}: ${item.subject}`, text, action: option, danger: option === "Reject" };
}
