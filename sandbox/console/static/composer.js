// The box to write in: messages, slash commands, completion; beside it how fast the app acknowledged.
import { ackNode } from "./ack.js";
import { completions } from "./complete.js";
import { fill, freshId, h } from "./dom.js";
import { icon } from "./icons.js";
import { openMenu } from "./menu.js";
import { failureText } from "./words.js";

const drafts = new Map(); // place → what was typed there and not sent

/** `place`: {channel, name, thread?}. */
export function composer(app, { channel, name, thread }) {
  const place = `${app.handle}/${channel}/${thread ?? ""}`;
  const listId = freshId("complete");
  const label = thread ? app.t("reply_to") : app.t("message_to", { channel: name });
  const box = h("textarea", {
    class: "composer-text", rows: "1", placeholder: label, "aria-label": label, "aria-controls": listId, "aria-autocomplete": "list",
    role: "combobox", "aria-expanded": "false", enterkeyhint: "send", value: drafts.get(place) ?? "", data: { focus: "composer" },
  });
  const list = h("div", { class: "completions", id: listId, role: "listbox", "aria-label": app.t("suggestions"), hidden: true });
  const send = h("button", { type: "submit", class: "send", "aria-label": app.t("send"), title: app.t("send") }, icon("send"));
  const problem = h("div", { class: "composer-problem", role: "alert" });
  const form = h(
    "form",
    { class: "composer", onsubmit: (event) => { event.preventDefault(); submit(); } },
    list,
    problem,
    h(
      "div",
      { class: "composer-box" },
      box,
      h("div", { class: "composer-row" }, starters(), h("span", { class: "composer-hint" }, app.t("format_hint")), ackNode(app), send),
    ),
  );
  let found = null;
  let active = 0;

  function starters() {
    const start = (sign, words, name) => h("button", { type: "button", class: "icon-button", "aria-label": words, title: words, onclick: () => insert(sign) }, icon(name));
    return h("span", { class: "composer-starters" }, thread ? null : shortcutsButton(app), thread ? null : start("/", app.t("commands"), "slash"), start("@", app.t("mention"), "at"));
  }

  function insert(sign) {
    const text = sign === "/" ? sign : `${box.value}${box.value && !/\s$/.test(box.value) ? " " : ""}${sign}`;
    write(text, text.length);
  }

  function write(text, caret) {
    box.value = text;
    box.focus();
    box.setSelectionRange(caret, caret);
    changed();
  }

  function changed() {
    drafts.set(place, box.value);
    send.disabled = !box.value.trim();
    problem.textContent = "";
    box.style.height = "auto";
    box.style.height = `${Math.min(box.scrollHeight, 220)}px`;
    active = 0;
    offer(completions(app, box.value, box.selectionStart, Boolean(thread)));
  }

  function offer(made) {
    found = made;
    list.hidden = !found;
    box.setAttribute("aria-expanded", String(Boolean(found?.options.length)));
    if (!found?.options.length) box.removeAttribute("aria-activedescendant");
    if (!found) return;
    if (found.hint) {
      fill(list, h("div", { class: "completion-hint" }, h("strong", null, found.hint.command), " ", h("code", null, found.hint.hint), h("small", null, found.hint.description)));
      return;
    }
    fill(list, found.options.map((option, at) => h(
      "div",
      { class: at === active ? "completion active" : "completion", role: "option", id: `${listId}-${at}`, "aria-selected": String(at === active),
        onpointerdown: (event) => { event.preventDefault(); take(option); } },
      h("span", { class: "completion-sign" }, option.sign),
      h("span", { class: "completion-words" }, h("strong", null, option.label), option.more && h("code", null, option.more), option.detail && h("small", null, option.detail)),
    )));
    box.setAttribute("aria-activedescendant", `${listId}-${active}`);
    list.children[active]?.scrollIntoView({ block: "nearest" });
  }

  function take(option) {
    const text = box.value.slice(0, found.from) + option.insert + box.value.slice(box.selectionStart);
    write(text, found.from + option.insert.length);
  }

  /** Whether there is nothing left to complete. */
  function isTyped(option) {
    return box.value.slice(found.from).trim() === option.insert.trim();
  }

  async function submit() {
    const text = box.value.trim();
    if (!text) return;
    const command = /^\/\S*/.exec(text)?.[0];
    if (command && (thread || !isKnown(app, command))) {
      problem.textContent = failureText(app.t, thread ? "command_in_thread" : "no_command").replace("{command}", command);
      return;
    }
    write("", 0);
    const result = command
      ? await app.act("command", { channel, text })
      : await app.act("say", { channel, text, ...(thread ? { thread_ts: thread } : {}) });
    if (result === null && !box.value) write(text, text.length); // it did not go out: nothing typed is lost
  }

  box.addEventListener("input", changed);
  box.addEventListener("blur", () => offer(null));
  box.addEventListener("keydown", (event) => {
    const options = found?.options ?? [];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (options.length && step) {
      event.preventDefault();
      active = (active + step + options.length) % options.length;
      offer(found);
    } else if (options.length && (event.key === "Tab" || (event.key === "Enter" && !isTyped(options[active]))) && !event.shiftKey) {
      event.preventDefault();
      take(options[active]);
    } else if (found && event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      offer(null);
    } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      submit();
    }
  });
  send.disabled = !box.value.trim();
  return { node: form, focus: () => box.focus() };
}

function isKnown(app, command) {
  return !app.about.commands.length || app.about.commands.some((each) => each.command === command);
}

/** Global shortcuts of the app. */
export function shortcutsButton(app, className = "icon-button") {
  const open = (event) => {
    const shortcuts = app.about.shortcuts.filter((each) => each.type === "global");
    const entries = shortcuts.map((each) => ({
      label: each.name, detail: each.description, icon: icon("bolt"), choose: () => app.act("shortcut", { callback_id: each.callback_id }),
    }));
    openMenu(event.currentTarget, app.t("shortcuts"), [{ heading: app.t(entries.length ? "shortcuts" : "no_shortcuts") }, ...entries]);
  };
  return h("button", { type: "button", class: className, "aria-haspopup": "menu", "aria-expanded": "false", "aria-label": app.t("create"), title: app.t("create"), onclick: open }, icon("plus"));
}
