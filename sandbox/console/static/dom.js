// Everything on the page is made of these: text becomes text nodes, so no message can become markup.

const SAFE_ADDRESS = /^(?:https?:|mailto:|tel:|#|\/|\.\/|api\/)/i;
const SVG = "http://www.w3.org/2000/svg";

/** An address that is safe to follow, or null. */
export function safeAddress(address) {
  const text = String(address ?? "").trim();
  return SAFE_ADDRESS.test(text) ? text : null;
}

/** An element. `on*` properties are listeners, `data` becomes dataset, true and false set and leave out attributes. */
export function h(tag, properties, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) set(node, name, value);
  node.append(...nodes(children));
  return node;
}

function set(node, name, value) {
  if (value === undefined || value === null || value === false) return;
  if (name.startsWith("on")) {
    node.addEventListener(name.slice(2).toLowerCase(), value);
  } else if (name === "data") {
    Object.assign(node.dataset, value);
  } else if (name === "style") {
    for (const [property, setting] of Object.entries(value)) node.style.setProperty(property, setting);
  } else if (name === "value" || name === "checked" || name === "selected" || name === "disabled") {
    node[name] = value;
  } else if (name === "href" || name === "src") {
    const address = safeAddress(value);
    if (address) node.setAttribute(name, address);
  } else {
    node.setAttribute(name, value === true ? "" : String(value));
  }
}

function nodes(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

export function fragment(...children) {
  const made = document.createDocumentFragment();
  made.append(...nodes(children));
  return made;
}

export function fill(node, ...children) {
  node.replaceChildren(...nodes(children));
  return node;
}

export function svg(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.append(...children);
  return node;
}

/** A link that leaves the page; its text alone when the address is not safe. */
export function outside(address, properties, ...children) {
  const safe = safeAddress(address);
  if (!safe) return h("span", properties, ...children);
  return h("a", { ...properties, href: safe, target: "_blank", rel: "noopener noreferrer" }, ...children);
}

let numbers = 0;

/** An id for label, description and control to find each other. */
export function freshId(prefix) {
  numbers += 1;
  return `${prefix}-${numbers}`;
}
