// The strip above: the world's clock, the figures of the render service, the scenario, and who one is.
import { get, post } from "./api.js";
import { fill, h, svg } from "./dom.js";
import { icon } from "./icons.js";
import { openMenu } from "./menu.js";
import { avatar } from "./people.js";

const EVERY = 2000; // ms between two looks at the world
const SPEEDS = [1, 5, 20, 60];
const WIDTH = 64;
const HEIGHT = 20;

export class Strip {
  #app;
  #world = h("div", { class: "world" });
  #clock = h("time", { class: "world-clock" });
  #speed;
  #figures = h("ul", { class: "figures" });
  #buttons = h("div", { class: "world-buttons" });
  #me = h("div", { class: "me" });

  constructor(app, node) {
    this.#app = app;
    node.setAttribute("aria-label", app.t("strip"));
    const options = SPEEDS.map((speed) => h("option", { value: String(speed) }, `${speed}×`));
    this.#speed = h("select", { class: "world-speed", "aria-label": app.t("speed"), title: app.t("speed"), onchange: () => this.#do({ do: "speed", speed: Number(this.#speed.value) }) }, options);
    fill(this.#world, h("div", { class: "world-time" }, icon("clock"), this.#clock, this.#speed), this.#figures, this.#buttons);
    fill(node, this.#world, this.#me);
    this.drawMe();
    this.#look();
    this.#timer = setInterval(() => document.visibilityState === "visible" && this.#look(), EVERY);
  }

  #timer;

  destroy() {
    clearInterval(this.#timer);
  }

  /** Who acts, and the way to be somebody else. */
  drawMe() {
    const app = this.#app;
    const face = (person) => avatar({ real_name: person.name, place: app.about.people.indexOf(person) }, "small");
    const me = app.about.people.find((person) => person.handle === app.handle);
    const entries = app.about.people.map((person) => ({
      label: person.name,
      detail: person.title,
      icon: face(person),
      current: person.handle === app.handle,
      choose: () => app.switchPerson(person.handle),
    }));
    const open = (event) => openMenu(event.currentTarget, app.t("you"), [{ heading: app.t("switch_hint") }, ...entries]);
    fill(this.#me, h(
      "button",
      { type: "button", class: "me-button", "aria-haspopup": "menu", "aria-expanded": "false", "aria-label": app.t("switch", { name: me.name }), title: app.t("you"), onclick: open },
      face(me),
      h("span", { class: "me-words" }, h("strong", null, me.name), h("small", null, me.title)),
      icon("down"),
    ));
  }

  async #look() {
    this.#draw(await get("world").catch(() => null));
  }

  async #do(what) {
    const world = await post("world", what).catch((error) => this.#app.complain(error.key));
    if (world) this.#draw(world);
  }

  #draw(world) {
    if (!world) return;
    const { t, lang } = this.#app;
    const now = new Date(world.now);
    this.#clock.dateTime = world.now;
    this.#clock.title = t("clock");
    this.#clock.textContent = now.toLocaleTimeString(lang, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
    if (document.activeElement !== this.#speed) this.#setSpeed(world.speed);
    fill(this.#figures, Object.entries(world.figures).map(([name, figure]) => this.#figure(name, figure)));
    this.#drawButtons(world.running);
  }

  #setSpeed(speed) {
    if (![...this.#speed.options].some((option) => Number(option.value) === speed)) {
      this.#speed.append(h("option", { value: String(speed) }, `${speed}×`));
    }
    this.#speed.value = String(speed);
  }

  #figure(name, figure) {
    const { t, lang } = this.#app;
    const digits = Math.abs(figure.value ?? 0) < 10 && figure.unit === "%" ? 1 : 0;
    const value = figure.value === null ? t("no_value") : figure.value.toLocaleString(lang, { maximumFractionDigits: digits, minimumFractionDigits: digits });
    const words = t(figure.bad ? "figure_bad" : "figure", { name: t(name), value, unit: figure.unit, threshold: figure.threshold });
    return h(
      "li",
      { class: figure.bad ? "figure bad" : "figure", title: `${t("service")} · ${words}` },
      h("span", { class: "figure-name" }, t(name)),
      h("span", { class: "figure-value", "aria-label": words }, h("strong", null, value), figure.value !== null && ` ${figure.unit}`),
      curve(figure),
    );
  }

  #drawButtons(running) {
    const { t } = this.#app;
    if (running === null) return void fill(this.#buttons);
    if (this.#buttons.dataset.running === String(running)) return;
    this.#buttons.dataset.running = String(running);
    const button = (what, name, words, short, className) =>
      h("button", { type: "button", class: className, "aria-label": words, onclick: () => this.#do({ do: what }) },
        icon(name), h("span", { class: "wide" }, words), h("span", { class: "narrow" }, short));
    fill(this.#buttons, running
      ? button("recover", "heal", t("recover"), t("recover"), "world-button heal")
      : button("start", "bolt", t("start"), t("start_short"), "world-button"));
  }
}

/** The last minutes as a line, with the limit across it. */
function curve(figure) {
  const known = figure.points.filter((point) => point !== null);
  const top = Math.max(figure.threshold * 1.15, ...known);
  const y = (value) => HEIGHT - 1 - (value / top) * (HEIGHT - 2);
  const step = WIDTH / Math.max(figure.points.length - 1, 1);
  let path = "";
  figure.points.forEach((point, at) => {
    if (point === null) return;
    path += `${path ? "L" : "M"}${(at * step).toFixed(1)} ${y(point).toFixed(1)}`;
  });
  return svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "curve", "aria-hidden": "true", preserveAspectRatio: "none" },
    svg("line", { x1: 0, x2: WIDTH, y1: y(figure.threshold), y2: y(figure.threshold), class: "curve-limit" }),
    svg("path", { d: path, class: "curve-line" }),
  );
}
