// The modal on the screen: the bot's view as a form. What was typed stays when the bot draws the view anew.
import { ackNode } from "./ack.js";
import { blocks } from "./blocks.js";
import { closeButton } from "./dialogs.js";
import { fill, h } from "./dom.js";
import { icon } from "./icons.js";
import { avatar } from "./people.js";
import { text } from "./richtext.js";
import { failureText } from "./words.js";

export class Modal {
  #app;
  #dialog = null;
  #view = null; // the record that is drawn
  #fields = new Map(); // block_id/action_id → a function that reads the control
  #typed = new Map(); // view id → what was typed in views of the stack
  #errors = {};
  #problem = null;

  constructor(app) {
    this.#app = app;
  }

  /** Draw what the store has now: open, change or close the dialog. */
  sync() {
    const view = this.#app.store.get("view") ?? null;
    if (looks(view) === looks(this.#view)) {
      this.#view = view; // only what was entered has changed, and that stands on the screen
      return;
    }
    this.#remember();
    const another = view?.id !== this.#view?.id;
    if (another) this.#errors = {};
    this.#problem = null;
    this.#view = view;
    if (view) this.#draw(another);
    else this.#shut();
  }

  #shut() {
    this.#typed.clear();
    this.#dialog?.close();
    this.#dialog?.remove();
    this.#dialog = null;
  }

  #remember() {
    if (!this.#view || !this.#dialog) return;
    this.#typed.set(this.#view.id, new Map([...this.#fields].map(([key, read]) => [key, read()])));
  }

  #values() {
    return Object.fromEntries([...this.#fields].map(([key, read]) => [key, read()]).filter(([, value]) => value !== undefined));
  }

  #draw(another) {
    const app = this.#app;
    const view = this.#view;
    const focus = this.#dialog?.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
    const top = this.#dialog?.querySelector(".dialog-body")?.scrollTop ?? 0;
    this.#fields.clear();
    const ctx = {
      app, surface: { view: view.id }, state: view.state, fields: this.#fields, errors: this.#errors,
      typed: this.#typed.get(view.id), values: () => this.#values(),
    };
    const back = view.previous_view_id;
    const bot = app.store.user(app.store.get("team").bot);
    const close = () => this.#close();
    const form = h(
      "form",
      { novalidate: true, onsubmit: (event) => { event.preventDefault(); this.#submit(); } },
      h("header", null, back ? h("button", { type: "button", class: "icon-button", "aria-label": app.t("back_form"), onclick: close }, icon("back")) : avatar(bot, "small"),
        h("h2", { id: "modal-title" }, text(app, view.title)), closeButton(app, close)),
      this.#problem && h("div", { class: "modal-problem", role: "alert" }, icon("warning"), this.#problem),
      h("div", { class: "dialog-body", tabindex: "-1" }, blocks(ctx, view.blocks)),
      h("footer", null,
        ackNode(app),
        h("button", { type: "button", class: "button", onclick: close }, view.close ? text(app, view.close) : app.t("close")),
        view.submit && h("button", { type: "submit", class: "button primary", data: { focus: "submit" } }, text(app, view.submit))),
    );
    if (!this.#dialog) {
      this.#dialog = h("dialog", { class: "dialog modal", "aria-labelledby": "modal-title", oncancel: (event) => { event.preventDefault(); close(); } });
      document.body.append(this.#dialog);
    }
    fill(this.#dialog, form);
    if (!this.#dialog.open) this.#dialog.showModal();
    if (!another) form.querySelector(".dialog-body").scrollTop = top;
    this.#focus(focus, another);
  }

  #focus(before, another) {
    const all = [...this.#dialog.querySelectorAll("[data-focus]")];
    const wrong = this.#dialog.querySelector(".with-error :is(input, textarea, select)");
    const same = another ? null : all.find((each) => each.dataset.focus === before);
    const first = this.#dialog.querySelector("[autofocus], .dialog-body :is(input, textarea, select, button)");
    (wrong ?? same ?? first ?? this.#dialog.querySelector(".dialog-body"))?.focus();
  }

  async #submit() {
    const app = this.#app;
    const view = this.#view;
    const button = this.#dialog.querySelector("button[type=submit]");
    if (!button || button.ariaBusy === "true") return;
    button.ariaBusy = "true";
    const result = await app.act("submit", { view: view.id, values: this.#values() });
    button.ariaBusy = "false";
    if (this.#view?.id !== view.id) return; // it has gone, or another one lies on top
    this.#errors = result?.errors ?? {};
    this.#problem = result?.error ? failureText(app.t, result.error) : null;
    if (this.#problem || Object.keys(this.#errors).length) {
      this.#remember();
      this.#draw(false);
    }
  }

  async #close() {
    await this.#app.act("close", { view: this.#view.id });
  }
}

/** What a view looks like, without what was entered into it. */
function looks(view) {
  return view && JSON.stringify({ ...view, state: null });
}
