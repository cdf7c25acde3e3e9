// How long the app took to acknowledge what was done last, or Slack's word for why it did not.
import { h } from "./dom.js";

export function ackNode(app) {
  const node = h("output", { class: "ack", title: app.t("ack_hint") });
  const draw = () => {
    const { waiting, ms, error } = app.ack;
    node.classList.toggle("ack-bad", Boolean(error) && !waiting);
    if (waiting) node.textContent = app.t("waiting");
    else if (error) node.textContent = error;
    else node.textContent = ms === null ? "" : app.t("ack", { ms: ms < 10 ? ms.toFixed(1) : Math.round(ms) });
  };
  app.follow(node, "ack", draw);
  draw();
  return node;
}
