// What a person fills in: an input block with its label, hint and error, and the controls themselves.
import { freshId, h } from "./dom.js";
import { picker } from "./picker.js";
import { text } from "./richtext.js";
import { refusalText } from "./words.js";

const WRITTEN = {
  plain_text_input: { type: "text" },
  email_text_input: { type: "email", inputmode: "email" },
  url_text_input: { type: "url", inputmode: "url" },
  number_input: { type: "number" },
};
const DATES = {
  datepicker: ["date", "selected_date", "initial_date"],
  timepicker: ["time", "selected_time", "initial_time"],
};
const PICKED = /^(?:users|channels|conversations)_select$/;

export function inputBlock(ctx, block) {
  const { app } = ctx;
  const ids = { label: freshId("label"), hint: freshId("hint"), error: freshId("error"), control: freshId("field") };
  const error = ctx.errors?.[block.block_id];
  const described = [error && ids.error, block.hint && ids.hint].filter(Boolean).join(" ") || undefined;
  const dispatch = (value) => ctx.app.act("choose", { ...ctx.surface, values: ctx.values?.() ?? {}, action_id: block.element.action_id, value });
  const node = control(ctx, block, block.element, {
    id: ids.control, labelledby: ids.label, describedby: described, invalid: Boolean(error),
    optional: block.optional, onChange: block.dispatch_action ? dispatch : undefined,
  });
  const label = [text(app, block.label), block.optional && h("span", { class: "quiet" }, " ", app.t("optional"))];
  return h(
    "div",
    { class: error ? "block block-input with-error" : "block block-input", data: { block: block.block_id } },
    h("label", { id: ids.label, for: ids.control }, label),
    node,
    error && h("div", { id: ids.error, class: "input-error", role: "alert" }, refusalText(app.t, error)),
    block.hint && h("div", { id: ids.hint, class: "input-hint" }, text(app, block.hint)),
  );
}

/**
 * A control for an element. `about`: `label` or `labelledby` name it; `onChange` gets the value at each choice.
 * How to read it is entered into `ctx.fields`.
 */
export function control(ctx, block, given, about) {
  const key = `${block.block_id}/${given.action_id}`;
  const state = ctx.typed?.get(key) ?? stateValue(ctx.state?.[block.block_id]?.[given.action_id], given);
  const { node, value } = made(ctx, given, state, {
    id: about.id,
    "aria-label": about.label,
    "aria-labelledby": about.labelledby,
    "aria-describedby": about.describedby,
    "aria-invalid": about.invalid ? "true" : undefined,
    "aria-required": about.labelledby && !about.optional ? "true" : undefined,
    autofocus: given.focus_on_load || undefined,
    data: { focus: key },
  }, about);
  ctx.fields?.set(key, value);
  return node;
}

function made(ctx, given, state, properties, about) {
  if (given.type in WRITTEN) return written(given, state, properties, about);
  if (given.type in DATES) return dated(given, state, properties, about);
  switch (given.type) {
    case "datetimepicker":
      return moment(state, properties, about);
    case "static_select":
      return select(ctx, options(given), given, state, properties, about);
    case "radio_buttons":
      return boxes(ctx, "radio", given, state, properties, about);
    case "checkboxes":
      return boxes(ctx, "checkbox", given, state, properties, about);
    case "rich_text_input":
      return richInput(state, properties);
    case "file_input":
      return { node: h("div", { class: "quiet", ...properties }, ctx.app.t("no_files")), value: () => undefined };
    default:
      if (PICKED.test(given.type)) return select(ctx, known(ctx.app, given), given, state, properties, about);
      return picker(ctx, given, state, properties, about, known(ctx.app, given));
  }
}

/** The value in a state, or the one the element begins with. */
function stateValue(state, given) {
  const from = state ?? given;
  if (given.type in WRITTEN) return (state ? state.value : given.initial_value) ?? "";
  if (given.type === "multi_external_select") return from.selected_options ?? given.initial_options ?? [];
  const one = from.selected_option ?? (state ? null : given.initial_option);
  const many = from.selected_options ?? (state ? null : given.initial_options);
  if (many || ["checkboxes", "multi_static_select"].includes(given.type)) return (many ?? []).map((each) => each.value);
  if (one) return given.type === "external_select" ? one : one.value;
  const key = Object.keys(from).find((name) => (state ? name !== "type" : /^initial_(?!value)/.test(name)));
  return from[key] ?? (given.type.startsWith("multi_") ? [] : null);
}

function written(given, state, properties, { onChange }) {
  const limits = { minlength: given.min_length, maxlength: given.max_length, placeholder: given.placeholder?.text };
  const node = given.multiline
    ? h("textarea", { ...properties, ...limits, class: "input", rows: "4", value: state })
    : h("input", { ...properties, ...limits, ...WRITTEN[given.type], class: "input", autocomplete: "off", value: state });
  if (given.type === "number_input") {
    node.step = given.is_decimal_allowed ? "any" : "1";
    node.inputMode = given.is_decimal_allowed ? "decimal" : "numeric";
  }
  if (onChange) {
    const letters = given.dispatch_action_config?.trigger_actions_on?.includes("on_character_entered");
    node.addEventListener(letters ? "input" : "change", () => onChange(node.value || null));
  }
  return { node, value: () => node.value || null };
}

function dated(given, state, properties, { onChange }) {
  const node = h("input", { ...properties, type: DATES[given.type][0], class: "input input-date", value: state ?? "" });
  const value = () => node.value || null;
  if (onChange) node.addEventListener("change", () => onChange(value()));
  return { node, value };
}

function moment(state, properties, { onChange }) {
  const local = (seconds) => {
    const shown = new Date(seconds * 1000);
    return new Date(shown.getTime() - shown.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
  };
  const node = h("input", { ...properties, type: "datetime-local", class: "input input-date", value: state ? local(state) : "" });
  const value = () => (node.value ? Math.floor(new Date(node.value).getTime() / 1000) : null);
  if (onChange) node.addEventListener("change", () => onChange(value()));
  return { node, value };
}

function select(ctx, groups, given, state, properties, { onChange, optional }) {
  const option = (each) => h("option", { value: each.value, selected: each.value === state }, each.text);
  const list = groups.map((group) => (group.label ? h("optgroup", { label: group.label }, group.options.map(option)) : group.options.map(option)));
  const empty = h("option", { value: "", selected: !state, disabled: !optional, hidden: !optional }, given.placeholder?.text ?? ctx.app.t("choose"));
  const node = h("select", { ...properties, class: "select" }, empty, list);
  const value = () => node.value || null;
  if (onChange) node.addEventListener("change", () => onChange(value()));
  return { node, value };
}

function boxes(ctx, kind, given, state, properties, { onChange }) {
  const name = freshId("choice");
  const chosen = [state].flat();
  const rows = given.options.map((option) => {
    const box = h("input", { type: kind, name, value: option.value, checked: chosen.includes(option.value) });
    const words = h("span", null, text(ctx.app, option.text), option.description && h("small", null, text(ctx.app, option.description)));
    return h("label", { class: "choice" }, box, words);
  });
  const role = kind === "radio" ? "radiogroup" : "group";
  const node = h("div", { ...properties, role, class: "choices", "aria-required": kind === "radio" ? properties["aria-required"] : undefined }, rows);
  const marked = () => [...node.querySelectorAll("input:checked")].map((box) => box.value);
  const value = () => (kind === "radio" ? (marked()[0] ?? null) : marked());
  if (onChange) node.addEventListener("change", () => onChange(value()));
  return { node, value };
}

function richInput(state, properties) {
  const words = (state?.elements ?? []).flatMap((part) => part.elements ?? []).map((each) => each.text ?? "").join("");
  const node = h("textarea", { ...properties, class: "input", rows: "4", value: words });
  const section = () => ({ type: "rich_text_section", elements: [{ type: "text", text: node.value }] });
  return { node, value: () => (node.value ? { type: "rich_text", elements: [section()] } : null) };
}

/** Groups of {label, options: [{value, text}]} that a static select offers. */
function options(given) {
  const plain = (option) => ({ value: option.value, text: option.text.text });
  return (given.option_groups ?? [given]).map((group) => ({ label: group.label?.text, options: (group.options ?? []).map(plain) }));
}

/** The same for people and channels; a static select's own for the rest. */
function known(app, given) {
  if (given.type.includes("users")) {
    return [{ options: app.store.people().map((user) => ({ value: user.id, text: user.real_name })) }];
  }
  if (given.type.includes("channels") || given.type.includes("conversations")) {
    const open = app.store.channels().filter((channel) => !channel.is_im && !channel.is_archived);
    return [{ options: open.map((channel) => ({ value: channel.id, text: `#${channel.name}` })) }];
  }
  return options(given);
}
