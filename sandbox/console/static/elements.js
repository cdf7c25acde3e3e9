// The elements that a person acts on: buttons, and what is chosen outside of a form.
import { confirmed } from "./dialogs.js";
import { h, safeAddress } from "./dom.js";
import { icon } from "./icons.js";
import { control } from "./inputs.js";
import { openMenu } from "./menu.js";
import { placeOf, text } from "./richtext.js";
import { failureText } from "./words.js";

/** An element of an actions block or a section. */
export function element(ctx, block, given) {
  if (given.type === "button") return button(ctx, block, given);
  if (given.type === "overflow") return overflow(ctx, block, given);
  const label = given.placeholder?.text ?? block.text?.text ?? ctx.app.t("choose");
  const shown = h("div", { class: "acting" });
  const chosen = async (value) => {
    if (await confirmed(ctx.app, given.confirm)) await send(ctx, shown, "choose", { action_id: given.action_id, value });
  };
  shown.append(control(ctx, block, given, { label, onChange: chosen }));
  return shown;
}

function button(ctx, block, given) {
  const { app } = ctx;
  const shown = h("span", { class: "acting" });
  const place = placeOf(app, given.url);
  const address = place ?? safeAddress(given.url);
  const press = async (event) => {
    if (given.confirm) {
      event.preventDefault();
      if (!(await confirmed(app, given.confirm))) return;
      if (address) window.open(address, place ? "_self" : "_blank", "noopener,noreferrer");
    }
    const body = { action_id: given.action_id, ...("value" in given ? { value: given.value } : {}) };
    await send(ctx, shown, "press", body);
  };
  const properties = {
    class: ["button", given.style].filter(Boolean).join(" "),
    "aria-label": given.accessibility_label,
    data: { focus: `${block.block_id}/${given.action_id}`, action: given.action_id },
    onclick: press,
  };
  // An address opens, and the app is told that it was pressed, as in Slack.
  const outside = place ? {} : { target: "_blank", rel: "noopener noreferrer" };
  const made = address
    ? h("a", { ...properties, role: "button", href: address, ...outside }, text(app, given.text), !place && icon("outside"))
    : h("button", { ...properties, type: "button" }, text(app, given.text));
  shown.append(made);
  return shown;
}

function overflow(ctx, block, given) {
  const { app } = ctx;
  const shown = h("span", { class: "acting" });
  const choose = async (option) => {
    if (!(await confirmed(app, given.confirm))) return;
    if (safeAddress(option.url)) window.open(option.url, "_blank", "noopener,noreferrer");
    await send(ctx, shown, "choose", { action_id: given.action_id, value: option.value });
  };
  const entries = given.options.map((option) => ({
    label: text(app, option.text),
    detail: option.description?.text,
    choose: () => choose(option),
  }));
  const open = (event) => openMenu(event.currentTarget, app.t("options"), entries);
  shown.append(
    h("button", { type: "button", class: "button button-dots", "aria-haspopup": "menu", "aria-expanded": "false",
      "aria-label": app.t("options"), data: { focus: `${block.block_id}/${given.action_id}` }, onclick: open }, icon("dots")),
  );
  return shown;
}

/** Do it, with the control waiting meanwhile and what went wrong said beside it. */
async function send(ctx, shown, act, body) {
  const controls = shown.querySelectorAll("button, select, input, a");
  shown.querySelector(".acting-error")?.remove();
  shown.classList.add("waiting");
  for (const each of controls) each.setAttribute("aria-disabled", "true");
  const values = ctx.surface.view ? { values: ctx.values() } : {};
  const result = await ctx.app.act(act, { ...ctx.surface, ...values, ...body });
  shown.classList.remove("waiting");
  for (const each of controls) each.removeAttribute("aria-disabled");
  if (result?.error) {
    const words = failureText(ctx.app.t, result.error);
    shown.append(h("span", { class: "acting-error", role: "alert", title: words }, icon("warning"), words));
  }
}
