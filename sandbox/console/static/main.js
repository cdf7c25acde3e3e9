// The page: who one is, what is shown, and the live connection that keeps it true.
import { Failure, get, live, post } from "./api.js";
import { ChannelView } from "./channel.js";
import { toast } from "./dialogs.js";
import { fill, h } from "./dom.js";
import { AppView } from "./home.js";
import { closeMenu } from "./menu.js";
import { Modal } from "./modal.js";
import { paneOf } from "./pane.js";
import { drawRail, drawSidebar } from "./sidebar.js";
import { Store } from "./store.js";
import { Strip } from "./strip.js";
import { Unread } from "./unread.js";
import { chosenLanguage, failureText, wordsOf } from "./words.js";

const ACKNOWLEDGED = new Set(["command", "press", "choose", "submit", "shortcut"]);

class App extends EventTarget {
  store = new Store();
  ack = { waiting: 0, ms: null, error: null };
  place = { kind: "list", channel: null };
  #nodes = Object.fromEntries(["strip", "rail", "sidebar", "main", "pane"].map((id) => [id, document.getElementById(id)]));
  #disconnect = () => {};
  #middle = null; // what stands in the middle, and in the pane
  #pane = null;
  #modal = new Modal(this);
  #strip = null;
  #lost = h("div", { class: "lost", role: "alert", hidden: true });

  async begin() {
    this.about = await get("about");
    this.#useLanguage(chosenLanguage());
    const asked = new URLSearchParams(location.search).get("as") ?? localStorage.getItem("console.as");
    const known = this.about.people.some((person) => person.handle === asked);
    this.handle = known ? asked : this.about.people[0].handle;
    document.body.prepend(this.#lost);
    this.store.addEventListener("change", () => this.#sync());
    addEventListener("hashchange", () => this.#goTo());
    document.addEventListener("visibilitychange", () => this.#sync());
    addEventListener("keydown", (event) => this.#key(event));
    this.#be(this.handle);
  }

  /** Do something as the person one is. Null when it did not come about; what went wrong has then been said. */
  async act(name, body, { quiet = false } = {}) {
    const counts = ACKNOWLEDGED.has(name);
    if (counts) this.#acknowledge({ waiting: this.ack.waiting + 1 });
    try {
      const result = await post(name, { as: this.handle, ...body });
      if (counts) this.#acknowledge("ms" in result ? { ms: result.ms, error: result.error } : {}, true);
      const told = name === "command" || name === "submit" || name === "press" || name === "choose"; // said in place
      if (result.error && !told && !quiet) this.complain(result.error);
      return result;
    } catch (error) {
      if (counts) this.#acknowledge({}, true);
      if (!(error instanceof Failure)) throw error;
      if (!quiet) this.complain(error.key);
      return null;
    }
  }

  complain(key) {
    toast(failureText(this.t, key));
  }

  #acknowledge(news, done = false) {
    this.ack = { ...this.ack, ...news, ...(done ? { waiting: this.ack.waiting - 1 } : {}) };
    this.dispatchEvent(new Event("ack"));
  }

  /** Call `draw` at each event for as long as the node stands on the page. */
  follow(node, event, draw) {
    const stop = new AbortController();
    this.addEventListener(event, () => (node.isConnected ? draw() : stop.abort()), { signal: stop.signal });
  }

  // who, in which language, in which light

  switchPerson(handle) {
    localStorage.setItem("console.as", handle);
    this.#inAddress("as", handle);
    this.#be(handle);
  }

  switchLanguage() {
    const language = this.lang === "es" ? "en" : "es";
    localStorage.setItem("console.lang", language);
    this.#inAddress("lang", language);
    this.#useLanguage(language);
    this.#drawAnew();
  }

  switchTheme() {
    const dark = getComputedStyle(document.documentElement).colorScheme === "dark"
      || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
    document.documentElement.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("console.theme", document.documentElement.dataset.theme);
  }

  #useLanguage(language) {
    this.lang = language;
    this.t = wordsOf(language);
    document.documentElement.lang = language;
    this.#lost.textContent = this.t("lost");
  }

  #inAddress(name, value) {
    const search = new URLSearchParams(location.search);
    search.set(name, value);
    history.replaceState(null, "", `?${search}${location.hash}`);
  }

  #be(handle) {
    this.#disconnect();
    this.handle = handle;
    this.me = this.about.people.find((person) => person.handle === handle).id;
    this.unread = new Unread(handle);
    this.store.clear();
    this.ack = { waiting: 0, ms: null, error: null };
    let first = true;
    this.#disconnect = live(handle, {
      onPatch: (patch, all) => {
        this.store.apply(patch, all);
        if (first) this.#drawAnew();
        first = false;
      },
      onStatus: (connected) => { this.#lost.hidden = connected; },
    });
  }

  // where

  go(hash) {
    location.hash = hash;
  }

  firstChannel() {
    const mine = this.store.channels().filter((channel) => channel.is_member && !channel.is_im);
    return mine.find((channel) => channel.name.endsWith("incidents")) ?? mine[0];
  }

  readChannel(id) {
    if (this.unread.mark(this.store, id)) this.#drawLists();
  }

  #placeOf(hash) {
    const [first, kind, detail] = hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
    if (first === "app") return { kind: "app", tab: kind === "messages" ? "messages" : "home", channel: null };
    if (this.store.channel(first)) {
      return { kind: kind || "channel", channel: first, ts: detail, file: detail };
    }
    return { kind: "list", channel: this.firstChannel()?.id ?? null };
  }

  #goTo() {
    if (!this.store.get("team")) return;
    closeMenu();
    const before = this.place;
    this.place = this.#placeOf(location.hash);
    const { kind, channel } = this.place;
    const same = before.channel === channel && before.kind !== "app" && kind !== "app" && this.#middle;
    if (!same) this.#openMiddle();
    this.#openPane();
    document.body.dataset.screen = kind === "list" ? "list" : this.#pane ? "pane" : "main";
    this.#sync();
    if (kind === "at") this.#middle?.show(this.place.ts);
    const phone = matchMedia("(max-width: 760px), (pointer: coarse)").matches; // there it would raise the keyboard
    const inPane = (what) => this.#pane && this.#nodes.pane.querySelector(what);
    const focused = inPane("textarea") ?? inPane("[tabindex='0'], iframe, a");
    if (phone) return;
    if (focused) focused.focus();
    else if (!same || before.kind !== kind) this.#middle?.focus();
  }

  #openMiddle() {
    this.#middle?.destroy();
    const { kind, tab, channel } = this.place;
    if (kind === "app") this.#middle = new AppView(this, tab);
    else this.#middle = channel ? new ChannelView(this, channel) : null;
    fill(this.#nodes.main, this.#middle?.node);
  }

  #openPane() {
    this.#pane?.destroy();
    this.#pane = this.place.channel ? paneOf(this, this.place) : null;
    this.#nodes.pane.hidden = !this.#pane;
    this.#nodes.pane.classList.toggle("wide", Boolean(this.#pane?.wide));
    fill(this.#nodes.pane, this.#pane?.node);
  }

  // drawing

  #drawAnew() {
    this.#strip?.destroy();
    this.#strip = new Strip(this, this.#nodes.strip);
    this.#middle?.destroy();
    this.#middle = null;
    this.#goTo();
    this.#middle?.toEnd();
  }

  #sync() {
    if (!this.store.get("team")) return;
    const opened = location.hash.replace(/^#\/?/, "").split("/")[0];
    if (opened !== this.place.channel && this.store.channel(opened)) return this.#goTo(); // a channel that came later
    this.#drawLists();
    this.#middle?.sync();
    this.#pane?.sync();
    this.#modal.sync();
  }

  #drawLists() {
    const focus = document.activeElement?.dataset?.focus;
    drawRail(this, this.#nodes.rail);
    drawSidebar(this, this.#nodes.sidebar);
    if (focus && document.activeElement === document.body) document.querySelector(`#sidebar [data-focus="${CSS.escape(focus)}"]`)?.focus();
    const name = this.place.kind === "app" ? this.store.user(this.store.get("team").bot).real_name : this.store.channel(this.place.channel)?.name;
    document.title = this.t("title", { channel: name ?? "", workspace: this.about.workspace });
  }

  #key(event) {
    if (event.key === "Escape" && this.#pane && !document.querySelector("dialog[open], .menu")) this.go(`#/${this.place.channel}`);
  }
}

const theme = localStorage.getItem("console.theme");
if (theme) document.documentElement.dataset.theme = theme;
new App().begin();
