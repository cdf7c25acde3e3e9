// What asks for attention: a question before a dangerous button, an image in full, short notices.
import { h } from "./dom.js";
import { icon } from "./icons.js";
import { text } from "./richtext.js";

/** Slack's confirm object; resolves to whether the person is sure. */
export function confirmed(app, confirm) {
  if (!confirm) return Promise.resolve(true);
  return new Promise((resolve) => {
    const danger = confirm.style === "danger";
    const yes = h("button", { type: "button", class: danger ? "button danger" : "button primary", onclick: () => end(true) },
      confirm.confirm ? text(app, confirm.confirm) : app.t("yes"));
    const no = h("button", { type: "button", class: "button", onclick: () => end(false) },
      confirm.deny ? text(app, confirm.deny) : app.t("cancel"));
    const title = h("h2", { id: "confirm-title" }, confirm.title ? text(app, confirm.title) : app.t("sure"));
    const node = h(
      "dialog",
      { class: "dialog confirm", "aria-labelledby": "confirm-title", oncancel: (event) => { event.preventDefault(); end(false); } },
      h("header", null, title),
      h("div", { class: "dialog-body" }, text(app, confirm.text)),
      h("footer", null, no, yes),
    );
    function end(sure) {
      node.close();
      node.remove();
      resolve(sure);
    }
    document.body.append(node);
    node.showModal();
    (danger ? no : yes).focus();
  });
}

/** An image in full; a click, Escape or the cross closes it. */
export function showLarge(app, address, name, words) {
  const close = () => { node.close(); node.remove(); };
  const image = h("img", { src: address, alt: words || name, onclick: close });
  const node = h(
    "dialog",
    { class: "lightbox", "aria-label": name, oncancel: close, onclick: (event) => event.target === node && close() },
    h("header", null, h("strong", null, name), closeButton(app, close)),
    image,
  );
  document.body.append(node);
  node.showModal();
}

export function closeButton(app, close) {
  return h("button", { type: "button", class: "icon-button", "aria-label": app.t("close"), onclick: close }, icon("close"));
}

/** A short notice that goes by itself. */
export function toast(words) {
  const node = h("div", { class: "toast" }, icon("warning"), words);
  document.getElementById("toasts").append(node);
  setTimeout(() => node.remove(), 6000);
}
