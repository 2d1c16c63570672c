import { h, problem, put } from "./dom.js";

const VIEWS = {
  overview: "Overview",
  approvals: "Approvals",
  rollout: "Rollouts",
  changes: "Changes",
  drift: "Drift",
  history: "History",
};

const name = location.pathname.split("/").pop();
const current = name in VIEWS ? name : "overview";
const main = document.getElementById("view");

document.title = `${VIEWS[current]} · Deployments`;
document.getElementById("nav").append(
  h("ul", {}, Object.entries(VIEWS).map(([view, text]) =>
    h("li", {}, h("a", { href: view, "aria-current": view === current ? "page" : null }, text)))));

try {
  const view = await import(`./${current}.js`);
  await view.show(main, Object.fromEntries(new URLSearchParams(location.search)));
} catch (error) {
  put(main, h("h1", {}, VIEWS[current]), problem(error.message));
}
main.removeAttribute("aria-busy");
