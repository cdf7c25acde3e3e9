// A list of messages that follows the store: only what changed is drawn again, and the eye stays where it is.
import { dayKey, dayText, momentOf } from "./dates.js";
import { h } from "./dom.js";
import { icon } from "./icons.js";
import { messageNode } from "./message.js";

const TOGETHER = 300; // s within which messages of one person stand under one name
const NEAR = 60; // px from the end that still count as reading the newest

export class Timeline {
  #app;
  #read;
  #inThread;
  #drawn = new Map(); // key → {node, from}: what the node was drawn from
  #list = h("div", { class: "timeline-list" });
  #beginning = h("div", { class: "beginning" });
  #following = true;
  #top = 0; // where the end was when it was last shown
  #unreadAfter;
  #pill;

  /** `read` gives the messages, `beginning` the node above the first, `unreadAfter` the ts of the last one read. */
  constructor(app, { read, label, inThread = false, beginning, unreadAfter = null }) {
    this.#app = app;
    this.#read = read;
    this.#inThread = inThread;
    this.#unreadAfter = unreadAfter;
    this.drawBeginning = () => beginning && this.#beginning.replaceChildren(beginning());
    this.#pill = h("button", { type: "button", class: "to-newest", hidden: true, "aria-label": app.t("to_newest"), onclick: () => this.toEnd() }, icon("down"), app.t("newer"));
    this.scroller = h("div", { class: "timeline", role: "log", "aria-label": label, tabindex: "0" }, this.#beginning, this.#list);
    this.node = h("div", { class: "timeline-frame" }, this.scroller, this.#pill);
    this.scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#resized = new ResizeObserver(() => this.#following && this.toEnd());
    this.#resized.observe(this.#list);
    this.#resized.observe(this.scroller);
  }

  #resized;

  destroy() {
    this.#resized.disconnect();
  }

  get following() {
    return this.#following;
  }

  toEnd() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.#top = this.scroller.scrollTop;
    this.#following = true;
    this.#pill.hidden = true;
  }

  /** Bring one message into sight and mark it for a moment. */
  show(ts) {
    const node = this.#drawn.get(ts)?.node;
    if (!node) return;
    this.#following = false;
    node.scrollIntoView({ block: "center" });
    node.classList.add("shown");
    setTimeout(() => node.classList.remove("shown"), 2500);
  }

  /** Draw what the store has now. */
  sync() {
    if (this.scroller.scrollTop < this.#top) this.#scrolled(); // the browser may not have told of it yet
    const entries = this.#entries();
    const before = this.#drawn.size;
    const wanted = new Set(entries.map((entry) => entry.key));
    for (const [key, { node }] of this.#drawn) {
      if (wanted.has(key)) continue;
      node.remove();
      this.#drawn.delete(key);
    }
    let place = this.#list.firstChild;
    let fresh = false;
    for (const entry of entries) {
      const known = this.#drawn.get(entry.key);
      const node = known && same(known.from, entry.from) ? known.node : this.#draw(entry, known?.node);
      if (known && place === known.node) place = node; // which took its place
      fresh ||= !known;
      if (node === place) place = place.nextSibling;
      else this.#list.insertBefore(node, place);
    }
    this.drawBeginning();
    if (this.#following) this.toEnd();
    else if (fresh && before) this.#pill.hidden = false;
  }

  #draw(entry, old) {
    const node = entry.make();
    this.#drawn.set(entry.key, { node, from: entry.from });
    if (old?.isConnected) {
      const focus = old.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
      old.replaceWith(node);
      if (focus) [...node.querySelectorAll("[data-focus]")].find((each) => each.dataset.focus === focus)?.focus({ preventScroll: true });
    }
    return node;
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.#following = scrollHeight - scrollTop - clientHeight < NEAR;
    if (this.#following) this.#pill.hidden = true;
  }

  /** Days, the line above what is new, and the messages, each with what it is drawn from. */
  #entries() {
    const app = this.#app;
    const entries = [];
    let last = null;
    for (const message of joinedTogether(this.#read())) {
      const moment = momentOf(message.ts);
      const newDay = !this.#inThread && dayKey(moment) !== (last && dayKey(momentOf(last.ts)));
      if (newDay) entries.push({ key: `day-${dayKey(moment)}`, from: [dayText(app, moment)], make: () => divider(dayText(app, moment)) });
      const isNew = this.#unreadAfter && message.ts > this.#unreadAfter && !(last && last.ts > this.#unreadAfter) && message.user !== app.me;
      if (isNew) entries.push({ key: "new", from: [], make: () => h("div", { class: "divider divider-new" }, h("span", null, app.t("new"))) });
      const compact = !newDay && !isNew && goesOn(last, message);
      const pinned = app.store.channel(message.channel)?.pins.includes(message.ts);
      entries.push({
        key: message.ts,
        from: [message.from ?? message, compact, pinned, app.store.names, message.together?.length],
        make: () => messageNode(app, message, { compact, inThread: this.#inThread }),
      });
      last = message;
    }
    return entries;
  }
}

function divider(words) {
  return h("div", { class: "divider" }, h("span", null, words));
}

function same(one, other) {
  return one.length === other.length && one.every((each, at) => each === other[at]);
}

function goesOn(last, message) {
  if (!last || last.user !== message.user || last.username !== message.username) return false;
  if (last.subtype || message.subtype || last.ephemeral || message.ephemeral) return false;
  return message.ts - last.ts < TOGETHER;
}

/** People who join one after the other are told in one line, as in Slack. */
function joinedTogether(messages) {
  const shown = [];
  for (const message of messages) {
    const last = shown.at(-1);
    if (message.subtype === "channel_join" && last?.subtype === "channel_join") {
      const from = last.from ?? last;
      shown[shown.length - 1] = { ...from, from, together: [...(last.together ?? []), message.user] };
    } else {
      shown.push(message);
    }
  }
  return shown;
}
