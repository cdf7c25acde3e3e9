// The pane beside the channel: a thread, the pinned messages, or a document.
import { fileAddress, get } from "./api.js";
import { composer } from "./composer.js";
import { h } from "./dom.js";
import { kindOf } from "./files.js";
import { icon } from "./icons.js";
import { markdown } from "./markdown.js";
import { messageNode } from "./message.js";
import { Timeline } from "./timeline.js";

/** What `place` asks for: an object with `node`, `sync`, `destroy`; null when the pane stays shut. */
export function paneOf(app, place) {
  if (!app.store.channel(place.channel)) return null;
  if (place.kind === "thread") return threadPane(app, place.channel, place.ts);
  if (place.kind === "pins") return pinsPane(app, place.channel);
  if (place.kind === "file") return filePane(app, place.channel, place.file);
  return null;
}

function frame(app, channel, title, detail, ...inside) {
  return h(
    "section",
    { class: "pane-frame", "aria-label": title },
    h("header", { class: "pane-head" }, h("h2", null, title), h("span", { class: "quiet" }, detail),
      h("a", { class: "icon-button", href: `#/${channel}`, "aria-label": app.t("close") }, icon("close"))),
    ...inside,
  );
}

function threadPane(app, channel, ts) {
  const timeline = new Timeline(app, { read: () => app.store.thread(channel, ts), label: app.t("log_thread"), inThread: true });
  const name = app.store.channel(channel).name;
  const box = composer(app, { channel, name, thread: ts });
  const open = app.store.channel(channel).is_member && !app.store.channel(channel).is_archived;
  const node = frame(app, channel, app.t("thread"), name && `#${name}`, timeline.node, open && box.node);
  return { node, sync: () => timeline.sync(), destroy: () => timeline.destroy(), show: (at) => timeline.show(at) };
}

function pinsPane(app, channel) {
  const list = h("div", { class: "pane-scroll", tabindex: "0" });
  const sync = () => {
    const pinned = app.store.channel(channel).pins.map((ts) => app.store.message(channel, ts)).filter(Boolean);
    list.replaceChildren(...pinned.map((message) => messageNode(app, message, { inThread: true })));
  };
  return { node: frame(app, channel, app.t("pinned"), `#${app.store.channel(channel).name}`, list), sync, destroy: () => {} };
}

function filePane(app, channel, id) {
  const file = app.store.messages(channel).flatMap((message) => message.files).find((each) => each.id === id);
  const body = h("div", { class: "document" }, h("p", { class: "quiet" }, app.t("loading")));
  const outsideLink = h("a", { class: "icon-button", href: fileAddress(id), target: "_blank", rel: "noopener", "aria-label": app.t("download"), title: app.t("download") }, icon("outside"));
  const node = frame(app, channel, file?.title ?? app.t("file"), "", body);
  node.querySelector(".pane-head").lastElementChild.before(outsideLink);
  if (file) show(app, file, body).catch((error) => app.complain(error.key ?? "not_connected"));
  return { node, sync: () => {}, destroy: () => {}, wide: true };
}

async function show(app, file, body) {
  const kind = kindOf(file);
  if (kind === "html") {
    // sandbox without any permission: no scripts, no origin, no forms, no pop-ups.
    body.classList.add("document-html");
    body.replaceChildren(h("iframe", { src: fileAddress(file.id), sandbox: "", title: file.title, referrerpolicy: "no-referrer" }));
  } else if (kind === "markdown") {
    const tree = await get(`file/${encodeURIComponent(file.id)}?as=tree`);
    body.setAttribute("tabindex", "0");
    body.replaceChildren(h("div", { class: "markdown" }, markdown(app, tree, `${file.id}-`)));
  } else {
    const response = await fetch(fileAddress(file.id));
    body.setAttribute("tabindex", "0");
    body.replaceChildren(h("pre", null, h("code", null, await response.text())));
  }
}
