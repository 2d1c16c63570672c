import { CLOUDS, h, s, words } from "./dom.js";

const [WIDE, HIGH, GAP_X, GAP_Y, HEAD] = [168, 34, 56, 10, 28];

/** Components as boxes, from what is applied first on the left; `edges` are pairs of addresses. A table says the same. */
export function graph(nodes, edges) {
  const clouds = Map.groupBy(nodes, (node) => node.id.split("/")[0]);
  return h("div", { class: "graphs" }, [...clouds].map(([cloud, members]) => one(cloud, members, edges)));
}

function one(cloud, nodes, edges) {
  const known = new Set(nodes.map((node) => node.id));
  const own = edges.filter(([from, to]) => known.has(from) && known.has(to));
  const places = layout(nodes, own);
  const columns = Math.max(...[...places.values()].map((place) => place.column)) + 1;
  const rows = Math.max(...[...places.values()].map((place) => place.row)) + 1;
  const width = columns * (WIDE + GAP_X) - GAP_X + 2, height = HEAD + rows * (HIGH + GAP_Y) + 2;
  const x = (place) => place.column * (WIDE + GAP_X) + 1, y = (place) => HEAD + place.row * (HIGH + GAP_Y) + 1;
  const title = `${CLOUDS[cloud]}: ${nodes.length} components, in the order in which they are applied`;
  return h("div", { class: "scroll", role: "region", "aria-label": title, tabindex: "0" },
    s("svg", { class: "graph", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": title },
      s("text", { x: 1, y: 18, class: "title" }, CLOUDS[cloud]),
      own.map(([from, to]) => {
        const [a, b] = [places.get(from), places.get(to)];
        const [x1, y1, x2, y2] = [x(a) + WIDE, y(a) + HIGH / 2, x(b), y(b) + HIGH / 2];
        const middle = (x1 + x2) / 2;
        return s("path", { class: "edge", d: `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}` });
      }),
      nodes.map((node) => box(node, x(places.get(node.id)), y(places.get(node.id))))));
}

function box(node, x, y) {
  const [, kind, ...rest] = node.id.split("/");
  const name = rest.join("/") || kind;
  const cut = name.length > 19 ? `${name.slice(0, 18)}…` : name;
  return s("g", { class: `node ${node.state}` },
    s("title", {}, `${node.id}: ${words(node.state)}`),
    s("rect", { x, y, width: WIDE, height: HIGH, rx: 5 }),
    s("text", { x: x + 10, y: y + 15 }, cut),
    s("text", { x: x + 10, y: y + 28, class: "small" }, `${kind}, ${words(node.state)}`));
}

/** Kinds follow each other from left to right; within one, each component is right of those that it comes after. */
function layout(nodes, edges) {
  const before = Map.groupBy(edges, ([, to]) => to);
  const depths = new Map();
  const depth = (id, seen = new Set()) => {
    if (depths.has(id) || seen.has(id)) return depths.get(id) ?? 0;
    seen.add(id);
    const found = Math.max(-1, ...(before.get(id) ?? []).map(([from]) => depth(from, seen))) + 1;
    depths.set(id, found);
    return found;
  };
  const places = new Map(), filled = new Map();
  let start = 0;
  for (const members of Map.groupBy(nodes, (node) => node.id.split("/")[1]).values()) {
    for (const node of members) {
      const column = start + depth(node.id);
      const row = filled.get(column) ?? 0;
      filled.set(column, row + 1);
      places.set(node.id, { column, row });
    }
    start = Math.max(...members.map((node) => places.get(node.id).column)) + 1;
  }
  return places;
}
