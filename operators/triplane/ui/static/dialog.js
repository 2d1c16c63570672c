import { h } from "./dom.js";

/** Ask before something is done; resolves to whether it should be. `confirm()` does not work in Airflow's frame. */
export function ask({ title, text, action, danger = false }) {
  return new Promise((resolve) => {
    const close = (answer) => {
      dialog.close();
      dialog.remove();
      resolve(answer);
    };
    const dialog = h("dialog", { "aria-labelledby": "ask", cancel: (event) => { event.preventDefault(); close(false); } },
      h("h2", { id: "ask" }, title),
      [text].flat().map((line) => h("p", {}, line)),
      h("div", { class: "actions" },
        h("button", { type: "button", click: () => close(false) }, "Cancel"),
        h("button", { type: "button", class: danger ? "danger" : "primary", click: () => close(true) }, action)));
    document.body.append(dialog);
    dialog.showModal();
  });
}
