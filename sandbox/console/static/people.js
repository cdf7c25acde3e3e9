// Faces: initials on a colour, the app's own sign.
import { h } from "./dom.js";
import { icon } from "./icons.js";

const COLOURS = ["#3b6ea8", "#8a4fa3", "#2f8f6b", "#b5543c", "#a8772a", "#4a6a7c", "#9c3f6d", "#5a7d2f"];

function initials(name) {
  const words = name.split(/\s+/).filter(Boolean);
  return words.slice(0, 2).map((word) => word.charAt(0).toUpperCase()).join("");
}

/** A picture of a user, in the colour of their place in the company; beside it always stands the name, so it says nothing to a screen reader. */
export function avatar(user, size = "") {
  const names = `avatar ${size}`;
  if (user?.is_bot) return h("span", { class: `${names} avatar-app`, "aria-hidden": "true" }, icon("bolt"));
  const name = user?.real_name ?? "?";
  return h("span", { class: names, "aria-hidden": "true", style: { "background-color": COLOURS[(user?.place ?? 0) % COLOURS.length] } }, initials(name));
}

/** What a user is called in messages. */
export function nameOf(app, id) {
  return app.store.user(id)?.real_name ?? id;
}

/** Names as a list in a sentence. */
export function namesText(app, ids) {
  const names = ids.map((id) => nameOf(app, id));
  return new Intl.ListFormat(app.lang, { type: "conjunction" }).format(names);
}
