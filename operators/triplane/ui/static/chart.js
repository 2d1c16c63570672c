import { h, s } from "./dom.js";

const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [640, 180, 48, 24, 10];

/**
 * Lines over time. `series` are `{name, kind, points: [[milliseconds, value], ...]}`; a step stays until the next point.
 * What it shows is also in a table, for those who do not see it.
 */
export function chart(title, series, { most, unit = "" } = {}) {
  const points = series.flatMap((each) => each.points);
  if (!points.length) return h("p", { class: "empty" }, "There is nothing to draw yet.");
  const [first, last] = [Math.min(...points.map(([at]) => at)), Math.max(...points.map(([at]) => at))];
  const top = most ?? Math.max(1, ...points.map(([, value]) => value));
  const x = (at) => LEFT + ((at - first) / Math.max(last - first, 1)) * (WIDTH - LEFT - 10);
  const y = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
  const path = (each) => each.points.map(([at, value], index) => index ? `H${x(at)}V${y(value)}` : `M${x(at)} ${y(value)}`).join("");
  return h("figure", { class: "chart" },
    h("figcaption", {}, title, h("span", { class: "legend" }, series.map((each) => h("span", { class: each.kind }, each.name)))),
    s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title, preserveAspectRatio: "xMidYMid meet" },
      (top % 2 ? [0, top] : [0, top / 2, top]).map((value) => [
        s("line", { class: "grid", x1: LEFT, x2: WIDTH - 10, y1: y(value), y2: y(value) }),
        s("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, `${value}${unit}`)]),
      series.map((each) => [
        s("path", { class: `line ${each.kind}`, d: path(each) }),
        each.points.map(([at, value]) => s("circle", { class: each.kind, cx: x(at), cy: y(value), r: 2.5 },
          s("title", {}, `${new Date(at).toLocaleString()}: ${each.name} ${value}${unit}`)))]),
      s("text", { x: LEFT, y: HEIGHT - 6 }, new Date(first).toLocaleString()),
      last > first && s("text", { x: WIDTH - 10, y: HEIGHT - 6, "text-anchor": "end" }, new Date(last).toLocaleString())),
    table(title, series, unit));
}

function table(title, series, unit) {
  return h("details", { "data-key": title }, h("summary", {}, "As a table"), h("div", { class: "scroll", role: "region", "aria-label": title, tabindex: "0" },
    h("table", {}, h("thead", {}, h("tr", {}, ["When", "What", "Value"].map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", {}, series.flatMap((each) => each.points.map(([at, value]) => h("tr", {},
        h("td", {}, new Date(at).toLocaleString()), h("td", {}, each.name), h("td", {}, `${value}${unit}`))))))));
}
