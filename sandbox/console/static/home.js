// The app's own place: its home tab, drawn by the bot for this person, and the conversation with it.
import { blocks } from "./blocks.js";
import { backLink, ChannelView } from "./channel.js";
import { fill, h } from "./dom.js";
import { avatar } from "./people.js";

export class AppView {
  #app;
  #tab;
  #head = h("header", { class: "channel-head" });
  #body = h("div", { class: "app-body" });
  #drawn;
  #conversation = null;

  /** `tab` is `home` or `messages`. */
  constructor(app, tab) {
    this.#app = app;
    this.#tab = tab;
    this.node = h("section", { class: "channel" }, this.#head, this.#body);
    if (tab === "home") app.act("home", {}, { quiet: true });
  }

  sync() {
    this.#drawHead();
    if (this.#tab === "home") this.#drawHome();
    else this.#drawConversation();
  }

  show(ts) {
    this.#conversation?.show(ts);
  }

  toEnd() {
    this.#conversation?.toEnd();
  }

  focus() {
    this.#conversation?.focus();
  }

  destroy() {
    this.#conversation?.destroy();
  }

  #drawHead() {
    const app = this.#app;
    if (this.#head.childElementCount) return;
    const bot = app.store.user(app.store.get("team").bot);
    const tab = (name, words) =>
      h("a", { class: "tab", href: name === "home" ? "#/app" : "#/app/messages", "aria-current": this.#tab === name ? "page" : undefined }, words);
    fill(this.#head,
      h("div", { class: "head-row head-app" }, backLink(app), avatar(bot, "small"), h("h2", { class: "head-name" }, h("span", null, bot.real_name)), h("span", { class: "badge" }, app.t("app_badge"))),
      h("nav", { class: "tabs", "aria-label": bot.real_name }, tab("home", app.t("tab_home")), tab("messages", app.t("tab_messages"))));
  }

  #drawHome() {
    const app = this.#app;
    const view = app.store.get("home");
    if (view === this.#drawn && this.#body.childElementCount) return;
    this.#drawn = view;
    const fields = new Map();
    const values = () => Object.fromEntries([...fields].map(([key, read]) => [key, read()]));
    const ctx = { app, surface: { view: view?.id }, state: view?.state, fields, values };
    const focus = this.#body.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
    const top = this.#body.scrollTop;
    fill(this.#body, h("div", { class: "app-home" }, view ? blocks(ctx, view.blocks) : h("p", { class: "quiet" }, app.t("home_empty"))));
    this.#body.scrollTop = top;
    if (focus) [...this.#body.querySelectorAll("[data-focus]")].find((each) => each.dataset.focus === focus)?.focus();
  }

  #drawConversation() {
    const app = this.#app;
    const channel = app.store.botChannel();
    if (!channel) {
      fill(this.#body, h("div", { class: "app-home" }, h("p", { class: "quiet" }, app.t("beginning_im", { name: app.store.user(app.store.get("team").bot).real_name }))));
      return;
    }
    if (!this.#conversation) {
      this.#conversation = new ChannelView(app, channel.id);
      this.#conversation.node.classList.add("without-head");
      fill(this.#body, this.#conversation.node);
    }
    this.#conversation.sync();
  }
}
