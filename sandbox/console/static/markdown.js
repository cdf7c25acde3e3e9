// Markdown as nodes, from the tree that the server's parser has made.
import { fragment, h, outside } from "./dom.js";
import { placeOf } from "./richtext.js";

const PLAIN = {
  paragraph: "p", bullet_list: "ul", list_item: "li", blockquote: "blockquote", strong: "strong", em: "em", s: "s",
  table: "table", thead: "thead", tbody: "tbody", tr: "tr", hr: "hr",
};

/** `prefix` keeps the ids of anchors apart from the page's own. */
export function markdown(app, tree, prefix = "md-") {
  return fragment(tree.map((node) => made(app, node, prefix)));
}

function made(app, node, prefix) {
  const inside = () => (node.children ?? []).map((child) => made(app, child, prefix));
  if (node.type in PLAIN) {
    const element = h(PLAIN[node.type], null, inside());
    return node.type === "table" ? h("div", { class: "table-frame", tabindex: "0" }, element) : element;
  }
  switch (node.type) {
    case "inline":
      return fragment(inside());
    case "text":
      return document.createTextNode(node.text);
    case "softbreak":
      return document.createTextNode("\n");
    case "hardbreak":
      return h("br");
    case "heading":
      return h(`h${Math.min(node.level + 1, 6)}`, { class: `md-h${node.level}` }, inside());
    case "ordered_list":
      return h("ol", { start: node.start === 1 ? undefined : node.start }, inside());
    case "th":
    case "td":
      return h(node.type, { class: node.align ? `align-${node.align}` : undefined }, inside());
    case "code_inline":
      return h("code", null, node.text);
    case "code_block":
    case "fence":
      return h("pre", { tabindex: "0" }, h("code", null, node.text));
    case "link":
      return link(app, node.href, inside(), prefix);
    case "image":
      return picture(app, node);
    case "anchor":
      return h("span", { id: prefix + node.id });
    default:
      return fragment();
  }
}

function link(app, address, inside, prefix) {
  const place = placeOf(app, address);
  if (place) return h("a", { href: place }, inside);
  if (!address.startsWith("#")) return outside(address, null, inside);
  const jump = (event) => {
    event.preventDefault(); // the page's own address says which channel is open
    document.getElementById(prefix + address.slice(1))?.scrollIntoView({ behavior: "smooth", block: "center" });
  };
  return h("a", { href: address, onclick: jump }, inside);
}

function picture(app, node) {
  if (node.src.startsWith("data:image/")) {
    const image = h("img", { alt: node.text });
    image.src = node.src;
    return image;
  }
  return outside(node.src, { class: "quiet" }, app.t("image", { text: node.text || node.src }));
}
