// Block Kit as nodes. https://docs.slack.dev/reference/block-kit/blocks
import { fileAddress } from "./api.js";
import { showLarge } from "./dialogs.js";
import { fragment, h, outside } from "./dom.js";
import { element } from "./elements.js";
import { inputBlock } from "./inputs.js";
import { markdown } from "./markdown.js";
import { rich, text } from "./richtext.js";

/**
 * All blocks of a surface. `ctx`: `app`; `surface`, what names it to the server; `state`, what was entered before;
 * `fields`, a Map that each control enters how to read it into; `errors` by block_id.
 */
export function blocks(ctx, list) {
  return fragment((list ?? []).map((block) => blockNode(ctx, block)));
}

function blockNode(ctx, block) {
  const { app } = ctx;
  switch (block.type) {
    case "header":
      return h("h3", { class: "block block-header" }, text(app, block.text));
    case "divider":
      return h("hr", { class: "block block-divider" });
    case "section":
      return section(ctx, block);
    case "context":
      return h("div", { class: "block block-context" }, block.elements.map((each) => contextNode(ctx, each)));
    case "actions":
      return h("div", { class: "block block-actions" }, block.elements.map((each) => element(ctx, block, each)));
    case "image":
      return image(ctx, block);
    case "rich_text":
      return h("div", { class: "block block-rich" }, rich(app, block.elements));
    case "markdown":
      return h("div", { class: "block markdown" }, markdown(app, block.tree, `${block.block_id}-`));
    case "table":
      return table(app, block);
    case "input":
      return inputBlock(ctx, block);
    default:
      return h("div", { class: "block quiet" }, `[${block.type}]`);
  }
}

function section(ctx, block) {
  const { app } = ctx;
  const words = h("div", { class: "section-words" }, block.text && h("div", null, text(app, block.text)));
  if (block.fields) {
    const fields = block.fields.map((field) => h("div", { class: "field" }, text(app, field)));
    words.append(h("div", { class: "fields" }, fields));
  }
  const accessory = block.accessory && h("div", { class: "accessory" }, accessoryNode(ctx, block));
  return h("div", { class: "block block-section" }, words, accessory);
}

function accessoryNode(ctx, block) {
  if (block.accessory.type !== "image") return element(ctx, block, block.accessory);
  return h("img", { class: "accessory-image", src: imageAddress(block.accessory), alt: block.accessory.alt_text });
}

function contextNode(ctx, each) {
  if (each.type !== "image") return h("span", { class: "context-text" }, text(ctx.app, each));
  return h("img", { class: "context-image", src: imageAddress(each), alt: each.alt_text });
}

function image(ctx, block) {
  const { app } = ctx;
  const address = imageAddress(block);
  const name = block.title?.text ?? block.alt_text;
  const larger = app.t("image_larger", { name });
  return h(
    "figure",
    { class: "block image-file" },
    block.title && h("figcaption", null, text(app, block.title)),
    h("button", { type: "button", class: "zoom", title: larger, "aria-label": `${larger}. ${block.alt_text}`,
      data: { focus: block.block_id }, onclick: () => showLarge(app, address, name, block.alt_text) },
    h("img", { src: address, alt: block.alt_text, loading: "lazy" })),
  );
}

/** Where the page gets an image from: a file of Slack by the console's own address. */
export function imageAddress(image) {
  if (image.slack_file?.id) return fileAddress(image.slack_file.id);
  const address = image.slack_file?.url ?? image.image_url ?? "";
  const own = /\/files-pri\/\w+-(\w+)\//.exec(address);
  return own ? fileAddress(own[1]) : address;
}

function table(app, block) {
  const cell = (tag, given, at) => {
    const settings = block.column_settings?.[at] ?? {};
    const names = [`align-${settings.align ?? "left"}`, settings.is_wrapped ? "wrapped" : ""];
    const words = given.type === "raw_text" ? given.text : rich(app, given.elements);
    return h(tag, { class: names.join(" ").trim(), scope: tag === "th" ? "col" : undefined }, words);
  };
  const [first, ...rest] = block.rows;
  return h(
    "div",
    { class: "block table-frame", tabindex: "0" },
    h(
      "table",
      null,
      h("thead", null, h("tr", null, first.map((given, at) => cell("th", given, at)))),
      h("tbody", null, rest.map((row) => h("tr", null, row.map((given, at) => cell("td", given, at))))),
    ),
  );
}

/** The older form of rich messages. https://docs.slack.dev/legacy/legacy-messaging/legacy-secondary-message-attachments */
export function attachment(ctx, given) {
  const { app } = ctx;
  const colours = { good: "#2eb67d", warning: "#ecb22e", danger: "#e01e5a" };
  const colour = colours[given.color] ?? (/^#?[0-9a-f]{6}$/i.test(given.color ?? "") ? `#${given.color.replace("#", "")}` : null);
  const title = given.title && h("div", { class: "attachment-title" }, outside(given.title_link, null, given.title));
  const fields = (given.fields ?? []).map((field) =>
    h("div", { class: field.short ? "field" : "field field-wide" }, h("strong", null, field.title), h("div", null, rich(app, field.value))));
  return h(
    "div",
    { class: "attachment-frame" },
    given.pretext && h("div", null, rich(app, given.pretext)),
    h(
      "div",
      { class: "attachment", style: colour ? { "border-left-color": colour } : {} },
      given.author_name && h("div", { class: "attachment-author" }, outside(given.author_link, null, given.author_name)),
      title,
      given.text && h("div", null, rich(app, given.text)),
      fields.length > 0 && h("div", { class: "fields" }, fields),
      blocks(ctx, given.blocks),
      given.image_url && h("img", { src: given.image_url, alt: given.fallback ?? "", loading: "lazy" }),
      given.footer && h("div", { class: "quiet small" }, given.footer),
    ),
  );
}
