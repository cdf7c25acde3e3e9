// The middle of the page: one channel (or the app's conversation) with its head, messages and box.
import { composer } from "./composer.js";
import { fill, h, outside } from "./dom.js";
import { emojified } from "./emoji.js";
import { icon } from "./icons.js";
import { avatar, nameOf } from "./people.js";
import { richLine } from "./richtext.js";
import { Timeline } from "./timeline.js";

export class ChannelView {
  #app;
  #id;
  #head = h("header", { class: "channel-head" });
  #foot = h("div", { class: "channel-foot" });
  #timeline;
  #footFrom = null;
  #headFrom = null;

  constructor(app, id) {
    this.#app = app;
    this.#id = id;
    const channel = app.store.channel(id);
    const until = app.unread.until(id);
    this.#timeline = new Timeline(app, {
      read: () => app.store.timeline(id),
      label: app.t("log", { channel: channelName(app, channel) }),
      beginning: () => beginning(app, app.store.channel(id)),
      unreadAfter: until === "0" ? null : until,
    });
    this.node = h("section", { class: "channel" }, this.#head, this.#timeline.node, this.#foot);
  }

  sync() {
    const app = this.#app;
    const channel = app.store.channel(this.#id);
    if (!channel) return;
    if (this.#headFrom !== channel) {
      this.#headFrom = channel;
      drawHead(app, channel, this.#head);
    }
    this.#timeline.sync();
    const state = `${channel.is_member}/${channel.is_archived}/${channel.name}`;
    if (this.#footFrom !== state) {
      this.#footFrom = state;
      this.#drawFoot(channel);
    }
    if (document.visibilityState === "visible" && this.#timeline.following) app.readChannel(this.#id);
  }

  show(ts) {
    this.#timeline.show(ts);
  }

  toEnd() {
    this.#timeline.toEnd();
  }

  focus() {
    this.#foot.querySelector("textarea")?.focus();
  }

  destroy() {
    this.#timeline.destroy();
  }

  #drawFoot(channel) {
    const app = this.#app;
    if (channel.is_archived) {
      fill(this.#foot, h("div", { class: "foot-note" }, app.t("is_archived")));
    } else if (!channel.is_member) {
      const join = () => app.act("join", { channel: channel.id });
      fill(this.#foot, h("div", { class: "foot-note" }, app.t("preview", { channel: channel.name }),
        h("button", { type: "button", class: "button primary", onclick: join }, app.t("join"))));
    } else {
      fill(this.#foot, composer(app, { channel: channel.id, name: channelName(app, channel) }).node);
    }
  }
}

function channelName(app, channel) {
  if (!channel) return "";
  return channel.is_im ? nameOf(app, app.store.get("team").bot) : `#${channel.name}`;
}

function drawHead(app, channel, head) {
  const members = channel.members.length === 1 ? app.t("one_member") : app.t("members", { count: channel.members.length });
  const pins = channel.pins.length === 1 ? app.t("one_pin") : app.t("pins", { count: channel.pins.length });
  fill(
    head,
    h(
      "div",
      { class: "head-row" },
      backLink(app),
      h("h2", { class: "head-name" }, !channel.is_im && icon(channel.is_private ? "lock" : "hash"), h("span", null, channel.is_im ? channelName(app, channel) : channel.name)),
      h("div", { class: "head-topic", title: app.t("topic") }, richLine(app, channel.topic)),
      channel.pins.length > 0 && h("a", { class: "head-chip", href: `#/${channel.id}/pins`, "aria-label": pins, title: pins }, icon("pin"), String(channel.pins.length)),
      h("span", { class: "head-chip", role: "img", "aria-label": members, title: channel.members.map((id) => nameOf(app, id)).join(", ") },
        h("span", { class: "faces" }, channel.members.slice(0, 3).map((id) => avatar(app.store.user(id), "tiny"))), String(channel.members.length)),
    ),
    channel.bookmarks.length > 0 && h(
      "nav",
      { class: "bookmarks", "aria-label": app.t("bookmarks") },
      channel.bookmarks.map((mark) => outside(mark.link, { class: "bookmark" }, mark.emoji ? emojified(mark.emoji) : icon("link"), h("span", null, mark.title))),
    ),
  );
}

export function backLink(app) {
  return h("a", { class: "icon-button phone-back", href: "#/", "aria-label": app.t("back") }, icon("back"));
}

function beginning(app, channel) {
  if (!channel) return h("div");
  if (channel.is_im) return h("p", null, app.t("beginning_im", { name: nameOf(app, app.store.get("team").bot) }));
  const date = new Date(channel.created * 1000).toLocaleDateString(app.lang, { day: "numeric", month: "long", year: "numeric" });
  const untouched = channel.name.endsWith("incidents") && !app.store.timeline(channel.id).length;
  return h("div", null,
    h("h3", null, icon(channel.is_private ? "lock" : "hash"), channel.name),
    h("p", null, app.t("beginning", { channel: channel.name }), " ", app.t("created", { name: nameOf(app, channel.creator), date })),
    untouched && h("p", { class: "try-it" }, app.t("try_it")));
}
