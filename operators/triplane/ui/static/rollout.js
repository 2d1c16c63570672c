import { CLOUDS, add, ago, h, problem, put, say, state, words } from "./dom.js";
import { logTail, read, retry } from "./airflow.js";
import { chart } from "./chart.js";
import { ask } from "./dialog.js";
import { doOnce, keepDoing, redraw } from "./live.js";
import { runInAirflow, taskInAirflow, to } from "./links.js";
import { runTable } from "./overview.js";

const ENDED = ["success", "failed"];
const GOES_ON = ["running", "deferred", "restarting", "up_for_retry"];
const LOUD = ["failed", "upstream_failed", "awaiting_input", "up_for_retry", "running", "restarting", "deferred", "queued", "scheduled", "none", "success", "skipped", "removed"];

/** A run while it goes on: stage by stage across the clouds, with the log of a task. */
export async function show(main, parameters) {
  if (!parameters.run_id) {
    add(main, h("h1", {}, "Rollouts"), runTable((await read("runs")).runs));
    return;
  }
  const { dag_id, run_id } = parameters;
  const head = h("div"), matrix = h("div"), details = h("div", { class: "panes" }), traffic = h("div");
  const tasks = h("section", { "aria-label": "Tasks" }), log = h("section", { "aria-label": "Log" });
  const result = h("p", { role: "status" });
  details.append(tasks, log);
  add(main, h("h1", {}, "Rollout"), head, matrix, traffic, details);
  let data, seen = "", cell = null, chosen = null;
  const draw = () => {
    redraw(head, heading(data));
    redraw(matrix, stages(data, cell, (stage, cloud) => { cell = { stage, cloud }; put(result); draw(); }));
    redraw(traffic, data.traffic.map(shifts));
    redraw(tasks, taskList(data, cell, chosen, pick, result));
  };
  const follow = (task) => tail(log, task, () => same(task, chosen));
  const pick = async (task) => {
    chosen = task;
    draw();
    await follow(task);
  };
  await keepDoing(async () => {
    const first = data === undefined;
    data = await read("rollout", { dag_id, run_id });
    if (first) {
      const task = data.tasks.find((each) => each.task_id === parameters.task_id) ?? worst(data.tasks);
      cell = task && { stage: task.stage, cloud: task.cloud };
      chosen = task;
    }
    chosen = data.tasks.find((task) => same(task, chosen)) ?? chosen;
    const now = JSON.stringify(data);
    if (now !== seen) draw();
    const still = now === seen && !GOES_ON.includes(chosen?.state);
    seen = now;
    if (chosen && !still) await follow(chosen);
    return first || !ENDED.includes(data.run.state);
  }, 3, (error) => redraw(head, problem(error.message), data && heading(data)));
}

function same(task, other) {
  return other && ["dag_id", "run_id", "task_id", "map_index"].every((name) => task[name] === other[name]);
}

function worst(tasks) {
  const busy = tasks.filter((task) => !["none", "success", "skipped", "removed"].includes(task.state));
  return busy.sort((a, b) => LOUD.indexOf(a.state) - LOUD.indexOf(b.state))[0] ?? tasks.at(-1);
}

function heading(data) {
  const run = data.run;
  return [
    data.problems.map(problem),
    h("p", {}, h("strong", {}, run.run_id), " ", state(run.state), ` ${words(run.action)} in ${run.environment || "the first environment"}, started `, ago(run.started),
      ` by ${run.by || "a schedule"}. `, to("changes", { dag_id: run.dag_id, run_id: run.run_id }, "Changes"), " · ", runInAirflow(run)),
    data.tasks.some((task) => task.state === "awaiting_input") && h("p", { class: "notice" }, to("approvals", {}, "It waits for an approval")),
  ];
}

function stages(data, cell, choose) {
  return h("div", { class: "scroll", role: "region", "aria-label": "Stages", tabindex: "0", "data-scroll": "stages" }, h("table", { class: "stages" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Stage"), data.clouds.map((cloud) => h("th", { scope: "col" }, CLOUDS[cloud])))),
    h("tbody", {}, data.stages.map((stage) => h("tr", {},
      h("th", { scope: "row" }, words(stage)),
      data.clouds.map((cloud) => h("td", {}, square(data.tasks.filter((task) => task.stage === stage && task.cloud === cloud), stage, cloud, cell, choose))))))));
}

function square(tasks, stage, cloud, cell, choose) {
  if (!tasks.length) return null;
  const loudest = tasks.map((task) => task.state).sort((a, b) => LOUD.indexOf(a) - LOUD.indexOf(b))[0];
  const done = tasks.filter((task) => ["success", "skipped", "removed"].includes(task.state)).length;
  const shown = loudest === "none" && done ? "running" : loudest;
  return h("button", { type: "button", class: "square", "data-key": `${stage} ${cloud}`,
    "aria-pressed": String(cell?.stage === stage && cell?.cloud === cloud), click: () => choose(stage, cloud) },
    state(shown === "none" ? "waits" : shown), ` ${done}/${tasks.length}`);
}

function taskList(data, cell, chosen, pick, result) {
  if (!cell) return [];
  const tasks = data.tasks.filter((task) => task.stage === cell.stage && task.cloud === cell.cloud);
  return [
    h("h2", {}, `${words(cell.stage)}, ${CLOUDS[cell.cloud]}`),
    h("ul", { class: "tasks", "data-scroll": "tasks" }, tasks.map((task) => h("li", {},
      h("button", { type: "button", class: "task", "data-key": `${task.run_id} ${task.task_id} ${task.map_index}`,
        "aria-pressed": String(Boolean(same(task, chosen))), click: () => pick(task) },
        h("span", {}, task.map_index >= 0 ? `${task.task_id}[${task.map_index}]` : task.task_id), state(task.state === "none" ? "waits" : task.state)),
      task.retry && h("button", { type: "button", click: () => again(task, result) }, "Retry")))),
    result,
  ];
}

async function again(task, result) {
  const place = task.retry;
  const text = [`${place.task_id} of ${place.run_id} and all that follow it are cleared and run again.`,
    "What was approved is applied while the approval holds; what was done already is not done twice."];
  if (!await ask({ title: `Retry ${task.task_id}?`, text, action: "Retry" })) return;
  await doOnce(result, "Clearing …", async () => {
    await retry(place);
    say("The task was cleared.");
    location.reload();
  });
}

/** Show the end of a task's log, unless `wanted` says that another one was chosen while it was fetched. */
async function tail(log, task, wanted) {
  const title = h("h2", {}, "Log of ", task.task_id, " ", taskInAirflow(task));
  if (!task.started) {
    redraw(log, title, h("p", { class: "empty" }, "It has not started yet."));
    return;
  }
  try {
    const lines = await logTail(task);
    if (!wanted()) return;
    const box = h("pre", { tabindex: "0", class: "log", role: "log", "aria-label": "The end of the log", "data-key": "log" }, lines.join("\n") || "Its log is empty.");
    const old = log.querySelector("pre");
    const follow = !old || old.scrollHeight - old.scrollTop - old.clientHeight < 40;
    const at = old?.scrollTop ?? 0;
    redraw(log, title, box);
    box.scrollTop = follow ? box.scrollHeight : at;
  } catch (error) {
    if (wanted()) redraw(log, title, problem(error.message));
  }
}

function shifts(traffic) {
  const points = traffic.shifts.map((shift) => [Date.parse(shift.at), shift.percent]);
  const version = traffic.shifts.at(-1)?.version ?? "";
  return chart(`Traffic of ${traffic.address} that goes to ${version}`, [{ name: "new version", kind: "good", points }], { most: 100, unit: " %" });
}
