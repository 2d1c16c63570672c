// Builds elements. Text is only ever set as text: names of runs, people and resources may hold anything.

const SVG = "http://www.w3.org/2000/svg";

/** An element. Attributes that are null or false are left away, functions are listeners; children are nodes or text. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same in SVG. */
export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else if (name === "value" || name === "checked" || name === "disabled") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  add(element, children);
  return element;
}

/** Append nodes and texts, of nested lists too; null and false are nothing. */
export function add(element, ...children) {
  element.append(...present(children));
}

/** Have nothing but these in an element. */
export function put(element, ...children) {
  element.replaceChildren(...present(children));
}

function present(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/** What people read instead of `in_sync`. */
export function words(text) {
  return String(text).replaceAll("_", " ");
}

export const CLOUDS = { aws: "AWS", gcp: "Google Cloud", azure: "Azure", all: "All clouds" };

/** `1 resource`, `2 resources`. */
export function many(count, thing) {
  return `${count} ${thing}${count === 1 ? "" : "s"}`;
}

/** A digest, commit or version so short that it fits into a cell. */
export function short(version) {
  const text = String(version ?? "");
  const digest = text.match(/sha256:([0-9a-f]{12})[0-9a-f]*$/);
  if (digest) return digest[1];
  if (/^[0-9a-f]{40}$/.test(text)) return text.slice(0, 10);
  return text.length > 22 ? `${text.slice(0, 21)}…` : text;
}

/** `3 h ago`, with the exact time as its title. */
export function ago(iso) {
  if (!iso) return h("span", { class: "quiet" }, "never");
  return h("time", { datetime: iso, title: new Date(iso).toLocaleString() }, span(Date.now() - Date.parse(iso), "ago"));
}

/** `in 3 h`; what is past has expired. */
export function until(iso) {
  if (!iso) return "no limit";
  const left = Date.parse(iso) - Date.now();
  const text = left > 0 ? `in ${span(left, "")}`.trim() : "expired";
  return h("time", { datetime: iso, title: new Date(iso).toLocaleString() }, text);
}

function span(milliseconds, after) {
  const minutes = Math.max(0, milliseconds / 60000);
  const text =
    minutes < 1 ? `${Math.round(minutes * 60)} s`
    : minutes < 90 ? `${Math.round(minutes)} min`
    : minutes < 2880 ? `${Math.round(minutes / 60)} h`
    : `${Math.round(minutes / 1440)} days`;
  return `${text} ${after}`.trim();
}

/** A word in a box, with the colour of its meaning: the word itself always says it too. */
export function badge(text, kind, title) {
  return h("span", { class: `badge ${kind}`, title }, words(text));
}

const MEANING = {
  deployed: "good", in_sync: "good", success: "good", unchanged: "plain", none: "plain", low: "good", destroyed: "plain",
  running: "busy", queued: "plain", scheduled: "plain", deferred: "busy", up_for_retry: "warn", restarting: "busy",
  waiting: "warn", awaiting_input: "warn", medium: "warn", pending: "plain", unmanaged_change: "warn", drifted: "warn",
  failed: "bad", missing: "bad", high: "bad", critical: "bad", upstream_failed: "bad", unknown: "warn",
  rolled_back: "warn", held: "plain", never: "plain", skipped: "plain", removed: "plain", create: "good", update: "warn",
  replace: "bad", destroy: "bad",
};

/** The badge of a state, risk or action. */
export function state(name, title) {
  return badge(name, MEANING[name] ?? "plain", title);
}

/** A message that something could not be read or done. */
export function problem(text) {
  return h("p", { class: "problem", role: "alert" }, text);
}

/** What a reader is told of a change that he did not look at. */
export function say(text) {
  document.getElementById("said").textContent = text;
}

/** A labelled choice. */
export function choice(label, options, value, onChange) {
  const select = h("select", { change: () => onChange(select.value) },
    options.map(([key, text]) => h("option", { value: key }, text)));
  select.value = value;
  return h("label", { class: "field" }, h("span", {}, label), select);
}

/** A labelled search field. */
export function search(label, value, onInput) {
  const input = h("input", { type: "search", value, input: () => onInput(input.value.toLowerCase()), autocomplete: "off", spellcheck: "false" });
  return h("label", { class: "field grow" }, h("span", {}, label), input);
}
