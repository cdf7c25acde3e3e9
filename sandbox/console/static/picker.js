// Several choices as chips with a list to search in; also for options that only the app knows (external_select).
import { fill, freshId, h } from "./dom.js";
import { icon } from "./icons.js";

const PATIENCE = 250; // ms after the last letter until the app is asked

export function picker(ctx, given, state, properties, { onChange, label }, groups) {
  const { app } = ctx;
  const many = given.type.startsWith("multi_");
  const external = given.type.includes("external");
  const most = many ? (given.max_selected_items ?? Infinity) : 1;
  const listId = freshId("list");
  const all = groups.flatMap((group) => group.options);
  let chosen = [state].flat().filter(Boolean).map((each) => (each.value ? plain(each) : all.find((one) => one.value === each))).filter(Boolean);
  let offered = [];
  let active = -1;
  let timer;

  const chips = h("span", { class: "chips" });
  const list = h("div", { class: "picker-list", id: listId, role: "listbox", hidden: true, "aria-multiselectable": String(many), "aria-label": label ?? app.t("options") });
  const input = h("input", {
    ...properties, class: "picker-input", role: "combobox", autocomplete: "off", "aria-expanded": "false",
    "aria-controls": listId, "aria-autocomplete": "list", placeholder: given.placeholder?.text ?? app.t("choose_many"),
  });
  const node = h("div", { class: "picker" }, h("div", { class: "picker-box" }, chips, input), list);

  function drawChips() {
    fill(chips, chosen.map((each) => h("span", { class: "chip" }, each.text,
      h("button", { type: "button", "aria-label": app.t("remove", { name: each.text }), onclick: () => toggle(each) }, icon("close")))));
    input.hidden = chosen.length >= most && !many;
  }

  function drawList() {
    const nodes = offered.map((each, at) => h(
      "div",
      { role: "option", id: `${listId}-${at}`, class: at === active ? "picker-option active" : "picker-option",
        "aria-selected": String(isChosen(each)), onpointerdown: (event) => { event.preventDefault(); toggle(each); } },
      each.text,
    ));
    fill(list, nodes.length ? nodes : h("div", { class: "picker-none" }, app.t("nothing_found")));
    if (active >= 0) input.setAttribute("aria-activedescendant", `${listId}-${active}`);
    else input.removeAttribute("aria-activedescendant");
  }

  function open(yes) {
    list.hidden = !yes;
    input.setAttribute("aria-expanded", String(yes));
    if (!yes) active = -1;
  }

  async function offer() {
    const words = input.value.toLowerCase();
    offered = external ? await asked(input.value) : all.filter((each) => each.text.toLowerCase().includes(words));
    active = Math.min(active, offered.length - 1);
    drawList();
    open(document.activeElement === input);
  }

  async function asked(query) {
    if (query.length < (given.min_query_length ?? 3)) return [];
    const result = await app.act("suggest", { ...ctx.surface, action_id: given.action_id, query });
    return (result?.options ?? []).map(plain);
  }

  function isChosen(each) {
    return chosen.some((one) => one.value === each.value);
  }

  function toggle(each) {
    if (isChosen(each)) chosen = chosen.filter((one) => one.value !== each.value);
    else if (chosen.length < most) chosen = [...chosen, each];
    input.value = "";
    drawChips();
    drawList();
    if (!many) open(false);
    input.focus();
    onChange?.(value());
  }

  function value() {
    const values = chosen.map((each) => (external ? each.option : each.value));
    return many ? values : (values[0] ?? null);
  }

  input.addEventListener("focus", offer);
  input.addEventListener("blur", () => open(false));
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(offer, external ? PATIENCE : 0);
  });
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && offered.length) {
      event.preventDefault();
      open(true);
      active = (active + step + offered.length) % offered.length;
      drawList();
      list.children[active]?.scrollIntoView({ block: "nearest" });
    } else if (event.key === "Enter" && !list.hidden && active >= 0) {
      event.preventDefault();
      toggle(offered[active]);
    } else if (event.key === "Escape" && !list.hidden) {
      event.preventDefault();
      event.stopPropagation();
      open(false);
    } else if (event.key === "Backspace" && !input.value && chosen.length) {
      toggle(chosen.at(-1));
    }
  });
  drawChips();
  return { node, value };
}

function plain(option) {
  return { value: option.value, text: option.text.text ?? option.text, option };
}
