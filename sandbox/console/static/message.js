// One message: who and when, what it says, its files, reactions and thread, and what can be done with it.
import { attachment, blocks } from "./blocks.js";
import { agoText, fullText, momentOf, timeText } from "./dates.js";
import { h } from "./dom.js";
import { character, REACTIONS } from "./emoji.js";
import { fileNodes } from "./files.js";
import { icon } from "./icons.js";
import { openMenu } from "./menu.js";
import { avatar, nameOf, namesText } from "./people.js";
import { rich, richLine } from "./richtext.js";

/** `compact`: the same person goes on, so face and name are left out. `inThread`: it stands in the pane. */
export function messageNode(app, message, { compact = false, inThread = false } = {}) {
  const user = app.store.user(message.user);
  const name = message.username ?? user?.real_name ?? message.user;
  const moment = momentOf(message.ts);
  const time = timeText(app.lang, moment);
  const classes = ["message", compact && "compact", message.ephemeral && "is-ephemeral", isPinned(app, message) && "is-pinned"];
  return h(
    "article",
    { class: classes.filter(Boolean).join(" "), "aria-label": `${name}, ${time}`, data: { ts: message.ts } },
    notes(app, message),
    h("div", { class: "gutter" }, compact ? timeLink(app, message, moment, time) : avatar(user)),
    h(
      "div",
      { class: "message-body" },
      !compact && head(app, message, user, name, moment, time),
      message.broadcast && inThread === false && h("div", { class: "quiet small" }, app.t("broadcast")),
      content(app, message),
      reactions(app, message),
      !inThread && message.reply_count > 0 && threadLink(app, message),
      message.ephemeral && dismissLink(app, message),
    ),
    !message.ephemeral && tools(app, message, inThread),
  );
}

function isPinned(app, message) {
  return app.store.channel(message.channel)?.pins.includes(message.ts);
}

function notes(app, message) {
  if (message.ephemeral) return h("div", { class: "message-note" }, icon("eye"), app.t("ephemeral"));
  return isPinned(app, message) && h("div", { class: "message-note" }, icon("pin"), app.t("pinned_mark"));
}

function head(app, message, user, name, moment, time) {
  return h(
    "div",
    { class: "message-head" },
    h("strong", { class: "author" }, name),
    user?.is_bot && h("span", { class: "badge" }, app.t("app_badge")),
    timeLink(app, message, moment, time),
  );
}

function timeLink(app, message, moment, time) {
  return h("a", { class: "time", href: `#/${message.channel}/at/${message.ts}`, title: fullText(app.lang, moment) },
    h("time", { datetime: moment.toISOString() }, time));
}

function content(app, message) {
  if (message.subtype) return h("div", { class: "message-text system" }, systemText(app, message));
  const ctx = { app, surface: { channel: message.channel, ts: message.ts }, state: message.state };
  const mark = message.edited && h("span", { class: "edited", title: app.t("edited_hint") }, ` ${app.t("edited")}`);
  const body = message.blocks.length
    ? h("div", { class: "blocks" }, blocks(ctx, message.blocks))
    : h("div", { class: "message-text" }, rich(app, message.text));
  if (mark) (body.lastElementChild?.matches(".rich-section, .block-rich") ? lastText(body) : body).append(mark);
  return [
    body,
    message.attachments.map((each) => attachment(ctx, each)),
    fileNodes(app, message.channel, message.files),
  ];
}

/** The last line of words, so that the mark of an edit stands behind them. */
function lastText(body) {
  return [...body.querySelectorAll(".rich-section")].at(-1) ?? body;
}

function systemText(app, message) {
  const channel = app.store.channel(message.channel);
  if (message.subtype === "channel_join") {
    const names = message.together ?? [];
    const facts = { channel: `#${channel?.name ?? ""}`, names: namesText(app, names) };
    return app.t(names.length ? "joined_with" : "joined", facts);
  }
  if (message.topic) return [app.t("set_topic"), " ", message.topic];
  if (message.purpose) return [app.t("set_purpose"), " ", message.purpose];
  return richLine(app, message.text);
}

function reactions(app, message) {
  if (!message.reactions.length) return null;
  const chips = message.reactions.map((reaction) => {
    const mine = reaction.users.includes(app.me);
    const sign = character(reaction.name) ?? `:${reaction.name}:`;
    const facts = { emoji: reaction.name, count: reaction.count, names: namesText(app, reaction.users) };
    return h(
      "button",
      { type: "button", class: mine ? "reaction mine" : "reaction", "aria-pressed": String(mine), title: facts.names,
        "aria-label": app.t("reaction", facts), data: { focus: `reaction/${reaction.name}` },
        onclick: () => react(app, message, reaction.name) },
      h("span", { class: "emoji" }, sign), " ", String(reaction.count),
    );
  });
  return h("div", { class: "reactions" }, chips);
}

export function react(app, message, name) {
  return app.act("react", { channel: message.channel, ts: message.ts, name });
}

function threadLink(app, message) {
  const count = message.reply_count === 1 ? app.t("one_reply") : app.t("replies", { count: message.reply_count });
  const faces = message.reply_users.slice(0, 5).map((id) => avatar(app.store.user(id), "tiny"));
  const when = app.t("last_reply", { when: agoText(app.lang, momentOf(message.latest_reply)) });
  return h("a", { class: "thread-link", href: `#/${message.channel}/thread/${message.ts}`, data: { focus: "thread" } },
    h("span", { class: "faces" }, faces), h("span", { class: "thread-count" }, count), h("span", { class: "quiet" }, when));
}

function dismissLink(app, message) {
  const dismiss = () => app.act("dismiss", { channel: message.channel, ts: message.ts });
  return h("button", { type: "button", class: "text-button", onclick: dismiss }, app.t("dismiss"));
}

function tools(app, message, inThread) {
  const thread = `#/${message.channel}/thread/${message.thread_ts ?? message.ts}`;
  const button = (label, sign, onclick, more) =>
    h("button", { type: "button", class: "tool", "aria-label": label, title: label, onclick, ...more }, sign);
  const opens = { "aria-haspopup": "menu", "aria-expanded": "false" };
  return h(
    "div",
    { class: "tools", role: "group", "aria-label": app.t("message_actions") },
    button(app.t("pin_to_timeline"), h("span", { class: "emoji" }, "📌"), () => react(app, message, "pushpin"), { class: "tool tool-wide" }),
    button(app.t("react"), icon("smile"), (event) => openReactions(app, event.currentTarget, message), { ...opens, class: "tool tool-wide" }),
    !inThread && h("a", { class: "tool tool-wide", href: thread, "aria-label": app.t("reply"), title: app.t("reply") }, icon("reply")),
    button(app.t("more"), icon("dots"), (event) => openMore(app, event.currentTarget, message, inThread ? null : thread), { ...opens, data: { focus: "more" } }),
  );
}

function openReactions(app, anchor, message) {
  const entries = REACTIONS.map((name) => ({
    label: character(name),
    name: app.t("react_with", { emoji: name }),
    choose: () => react(app, message, name),
  }));
  openMenu(anchor, app.t("react"), entries, { grid: true });
}

function openMore(app, anchor, message, thread) {
  const shortcuts = app.about.shortcuts.filter((each) => each.type === "message");
  const run = (shortcut) => app.act("shortcut", { callback_id: shortcut.callback_id, channel: message.channel, ts: message.ts });
  openMenu(anchor, app.t("more"), [
    ...(thread ? [{ label: app.t("reply"), icon: icon("reply"), choose: () => app.go(thread) }] : []),
    { label: app.t("pin_to_timeline"), icon: icon("pin"), choose: () => react(app, message, "pushpin") },
    { label: app.t("react"), icon: icon("smile"), choose: () => openReactions(app, anchor, message) },
    ...(shortcuts.length ? [{ heading: nameOf(app, app.store.get("team").bot) }] : []),
    ...shortcuts.map((each) => ({ label: each.name, detail: each.description, icon: icon("bolt"), choose: () => run(each) })),
  ]);
}
