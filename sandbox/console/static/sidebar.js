// The rail and the list of channels, with what is unread.
import { shortcutsButton } from "./composer.js";
import { fill, h } from "./dom.js";
import { icon } from "./icons.js";

/** Nothing is drawn while it would look the same: a link that is replaced under the finger is not followed. */
function isNews(node, ...what) {
  const text = JSON.stringify(what);
  if (node.dataset.drawn === text) return false;
  node.dataset.drawn = text;
  return true;
}

export function drawRail(app, rail) {
  if (!isNews(rail, app.lang, app.handle, app.place, app.firstChannel()?.id, app.store.botChannel()?.id)) return;
  const workspace = app.about.workspace;
  const tile = h("div", { class: "workspace-tile", "aria-hidden": "true" }, workspace.charAt(0));
  const bot = app.store.botChannel();
  const at = app.place.kind;
  const entry = (href, name, words, current) =>
    h("a", { class: "rail-link", href, "aria-current": current ? "page" : undefined }, icon(name), h("span", null, words));
  const first = app.firstChannel();
  rail.setAttribute("aria-label", app.t("rail"));
  fill(
    rail,
    tile,
    entry(first ? `#/${first.id}` : "#/", "home", app.t("home"), at !== "app" && app.place.channel !== bot?.id),
    entry("#/app", "app", app.t("app"), at === "app" || (bot && app.place.channel === bot.id)),
    h("span", { class: "rail-space" }),
    h("button", { type: "button", class: "rail-button", "aria-label": app.t("language"), title: app.t("language"), onclick: () => app.switchLanguage() }, app.lang === "es" ? "EN" : "ES"),
    h("button", { type: "button", class: "rail-button", "aria-label": app.t("theme"), title: app.t("theme"), onclick: () => app.switchTheme() }, icon("moon")),
    shortcutsButton(app, "rail-button rail-plus"),
  );
}

export function drawSidebar(app, sidebar) {
  const channels = app.store.channels().filter((channel) => !channel.is_im);
  const unread = app.store.channels().map((channel) => app.unread.counts(app.store, channel, app.me));
  const shown = app.store.channels().map(({ id, name, is_member, is_archived, is_private }) => [id, name, is_member, is_archived, is_private]);
  if (!isNews(sidebar, app.lang, app.handle, app.place, shown, unread)) return;
  sidebar.setAttribute("aria-label", app.t("sidebar"));
  const mine = channels.filter((channel) => channel.is_member);
  const isIncident = (channel) => channel.name.startsWith("inc-");
  const bot = app.store.user(app.store.get("team")?.bot);
  const top = sidebar.querySelector(".sidebar-lists")?.scrollTop ?? 0;
  fill(
    sidebar,
    h("h1", { class: "workspace-name" }, app.about.workspace),
    h(
      "div",
      { class: "sidebar-lists" },
      section(app, app.t("channels"), mine.filter((channel) => !isIncident(channel)).sort(byName)),
      section(app, app.t("incidents"), mine.filter(isIncident).sort(newestFirst)),
      section(app, app.t("other_channels"), channels.filter((channel) => !channel.is_member).sort(newestFirst)),
      bot && appSection(app, bot),
    ),
  );
  sidebar.querySelector(".sidebar-lists").scrollTop = top;
}

function byName(one, other) {
  return one.name.localeCompare(other.name);
}

function newestFirst(one, other) {
  return one.is_archived - other.is_archived || other.created - one.created || other.name.localeCompare(one.name);
}

function section(app, title, channels) {
  if (!channels.length) return null;
  return h("section", null, h("h2", null, title), h("ul", null, channels.map((channel) => h("li", null, channelLink(app, channel)))));
}

function channelLink(app, channel) {
  const { unread, rings } = channel.is_member ? app.unread.counts(app.store, channel, app.me) : { unread: 0, rings: 0 };
  const classes = ["channel-link", unread && "is-unread", channel.is_archived && "is-archived", !channel.is_member && "is-other"];
  const words = [channel.name, channel.is_archived && `(${app.t("archived")})`, unread && app.t("unread", { count: unread }), rings && app.t("mentions", { count: rings })];
  return h(
    "a",
    { class: classes.filter(Boolean).join(" "), href: `#/${channel.id}`, "aria-label": words.filter(Boolean).join(", "),
      "aria-current": app.place.channel === channel.id ? "page" : undefined, title: channel.name, data: { focus: `channel/${channel.id}` } },
    icon(channel.is_private ? "lock" : "hash"),
    h("span", { class: "channel-name" }, channel.name),
    rings > 0 && h("span", { class: "count", "aria-hidden": "true" }, rings > 99 ? "99+" : String(rings)),
  );
}

function appSection(app, bot) {
  const channel = app.store.botChannel();
  const { unread } = channel ? app.unread.counts(app.store, channel, app.me) : { unread: 0 };
  const current = app.place.kind === "app" || (channel && app.place.channel === channel.id);
  return h(
    "section",
    null,
    h("h2", null, app.t("apps")),
    h("ul", null, h("li", null, h(
      "a",
      { class: unread ? "channel-link is-unread" : "channel-link", href: "#/app", "aria-current": current ? "page" : undefined, data: { focus: "channel/app" } },
      h("span", { class: "app-sign", "aria-hidden": "true" }, icon("bolt")),
      h("span", { class: "channel-name" }, bot.real_name),
      unread > 0 && h("span", { class: "count", "aria-label": app.t("unread", { count: unread }) }, String(unread)),
    ))),
  );
}
