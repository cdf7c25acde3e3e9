// Text of Slack as nodes. mrkdwn comes from the server already parsed into the same elements as rich_text.
import { dateFormat, fullText } from "./dates.js";
import { fragment, h, outside } from "./dom.js";
import { character, emojified } from "./emoji.js";

const WRAPS = [["code", "code"], ["bold", "strong"], ["italic", "em"], ["strike", "s"], ["underline", "u"]];

/** A text object: plain_text or mrkdwn. */
export function text(app, object) {
  if (!object) return fragment();
  if (object.type === "mrkdwn") return rich(app, object.rich);
  return document.createTextNode(object.emoji === false ? object.text : emojified(object.text));
}

/** The sections, lists, quotes and preformatted parts of a rich_text block. */
export function rich(app, parts) {
  return fragment((parts ?? []).map((part) => partNode(app, part)));
}

/** The same without paragraphs, for one line: topics, the first words of a message. */
export function richLine(app, parts) {
  return fragment((parts ?? []).map((part) => [inline(app, part.elements ?? []), " "]));
}

function partNode(app, part) {
  switch (part.type) {
    case "rich_text_list":
      return list(app, part);
    case "rich_text_quote":
      return h("blockquote", null, inline(app, part.elements));
    case "rich_text_preformatted":
      return h("pre", { tabindex: "0" }, h("code", null, inline(app, part.elements)));
    default:
      return h("div", { class: "rich-section" }, inline(app, part.elements ?? []));
  }
}

function list(app, part) {
  const indent = Math.min(part.indent ?? 0, 8);
  const properties = { class: `rich-list indent-${indent}`, start: part.offset ? part.offset + 1 : undefined };
  const items = part.elements.map((item) => h("li", null, inline(app, item.elements)));
  return h(part.style === "ordered" ? "ol" : "ul", properties, items);
}

function inline(app, elements) {
  return fragment(elements.map((element) => styled(element.style, elementNode(app, element))));
}

function styled(style, node) {
  return WRAPS.reduce((inside, [name, tag]) => (style?.[name] ? h(tag, null, inside) : inside), node);
}

function elementNode(app, element) {
  switch (element.type) {
    case "text":
      return document.createTextNode(element.text);
    case "link":
      return linkNode(app, element);
    case "user":
      return userNode(app, element.user_id);
    case "usergroup": {
      const group = app.store.get(`group/${element.usergroup_id}`);
      return mention(`@${group?.handle ?? element.usergroup_id}`, group?.users.includes(app.me));
    }
    case "channel":
      return channelNode(app, element);
    case "broadcast":
      return mention(`@${element.range}`, true);
    case "emoji":
      return emojiNode(element);
    case "date":
      return dateNode(app, element);
    case "color":
      return document.createTextNode(element.value);
    default:
      return document.createTextNode(element.text ?? "");
  }
}

function mention(words, mine) {
  return h("span", { class: mine ? "mention mention-me" : "mention" }, words);
}

function userNode(app, id) {
  const user = app.store.user(id);
  return mention(`@${user?.real_name ?? id}`, id === app.me);
}

function channelNode(app, element) {
  const channel = app.store.channel(element.channel_id);
  const name = channel?.name ?? element.label ?? "";
  if (!channel) return h("span", { class: "mention" }, `#${name || element.channel_id}`);
  return h("a", { class: "mention", href: `#/${channel.id}` }, `#${name}`);
}

function emojiNode(element) {
  const code = `:${element.name}:`;
  const found = element.unicode ? fromHex(element.unicode) : character(element.name);
  return found ? h("span", { class: "emoji", role: "img", "aria-label": element.name, title: code }, found) : code;
}

function fromHex(codes) {
  const points = codes.split("-").map((code) => Number.parseInt(code, 16));
  return points.every((point) => point > 0 && point <= 0x10ffff) ? String.fromCodePoint(...points) : null;
}

function dateNode(app, element) {
  const moment = new Date(element.timestamp * 1000);
  if (Number.isNaN(moment.getTime())) return element.fallback;
  const words = dateFormat(app, element.timestamp, element.format);
  const node = h("time", { datetime: moment.toISOString(), title: fullText(app.lang, moment) }, words);
  return element.url ? outside(element.url, null, node) : node;
}

function linkNode(app, element) {
  const words = element.text || element.url;
  const place = placeOf(app, element.url);
  return place ? h("a", { href: place }, words) : outside(element.url, null, words);
}

/** Where on this page a permalink of the workspace leads, null for other addresses. */
export function placeOf(app, address) {
  const domain = app.store.get("team")?.domain;
  const match = /^https:\/\/([\w-]+)\.slack\.com\/archives\/(\w+)(?:\/p(\d{10})(\d{6}))?/.exec(address ?? "");
  if (!match || match[1] !== domain || !app.store.channel(match[2])) return null;
  const thread = /[?&]thread_ts=(\d+\.\d+)/.exec(address);
  const message = match[3] ? `${match[3]}.${match[4]}` : null;
  if (thread) return `#/${match[2]}/thread/${thread[1]}`;
  return message ? `#/${match[2]}/at/${message}` : `#/${match[2]}`;
}
