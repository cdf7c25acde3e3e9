// A menu that opens beside a button: arrows move, Enter chooses, Escape and a click elsewhere close.
import { h } from "./dom.js";

let close = () => {};

export function closeMenu() {
  close();
}

/**
 * Open a menu beside `anchor`. `entries` are {label, detail, icon, choose, current} or {heading};
 * `grid` sets them side by side (reactions).
 */
export function openMenu(anchor, label, entries, { grid = false } = {}) {
  close();
  const items = entries.map(entryNode);
  const node = h("div", { class: grid ? "menu menu-grid" : "menu", role: "menu", "aria-label": label }, items);
  const host = anchor.closest("dialog") ?? document.body; // a menu outside an open dialog could not be reached
  const focusable = items.filter((item) => item.getAttribute("role")?.startsWith("menuitem"));
  const before = document.activeElement;

  close = () => {
    close = () => {};
    document.removeEventListener("pointerdown", onOutside, true);
    window.removeEventListener("resize", closeMenu);
    const hadFocus = node.contains(document.activeElement);
    node.remove();
    anchor.setAttribute("aria-expanded", "false");
    if (hadFocus) (anchor.isConnected ? anchor : before)?.focus?.();
  };
  function onOutside(event) {
    if (!node.contains(event.target) && !anchor.contains(event.target)) close();
  }

  node.addEventListener("keydown", (event) => {
    const at = focusable.indexOf(document.activeElement);
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (event.key === "Escape" || event.key === "Tab") {
      event.preventDefault();
      event.stopPropagation();
      close();
    } else if (step) {
      event.preventDefault();
      focusable[(at + step + focusable.length) % focusable.length]?.focus();
    } else if (event.key === "Home" || event.key === "End") {
      event.preventDefault();
      focusable.at(event.key === "Home" ? 0 : -1)?.focus();
    }
  });
  host.append(node);
  place(node, anchor);
  anchor.setAttribute("aria-expanded", "true");
  document.addEventListener("pointerdown", onOutside, true);
  window.addEventListener("resize", closeMenu);
  (focusable.find((item) => item.ariaCurrent === "true") ?? focusable[0])?.focus();
}

function entryNode(entry) {
  if (entry.heading) return h("div", { class: "menu-heading" }, entry.heading);
  const choose = () => {
    close();
    entry.choose();
  };
  return h(
    "button",
    { type: "button", role: "menuitem", class: "menu-item", "aria-current": entry.current ? "true" : undefined,
      "aria-label": entry.name, title: entry.name, tabindex: "-1", onclick: choose },
    entry.icon,
    h("span", { class: "menu-words" }, h("span", null, entry.label), entry.detail && h("small", null, entry.detail)),
  );
}

/** Below the anchor, or above when there is no room; always within the window. */
function place(node, anchor) {
  const at = anchor.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = node;
  const left = Math.max(8, Math.min(at.left, innerWidth - width - 8));
  const below = at.bottom + 4 + height <= innerHeight - 8;
  const top = below ? at.bottom + 4 : Math.max(8, at.top - height - 4);
  node.style.left = `${left}px`;
  node.style.top = `${top}px`;
}
