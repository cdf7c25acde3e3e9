// What can be completed at the caret: commands, people, groups, channels, emoji.
import { h } from "./dom.js";
import { character, emojiNamed } from "./emoji.js";
import { icon } from "./icons.js";
import { avatar } from "./people.js";

const MOST = 8;
const AT_CARET = /(^|\s)([@#:])([\p{L}\p{N}_.+-]*)$/u;

/** `{from, options: [{insert, label, detail, sign}], hint}`, or null when there is nothing to say. */
export function completions(app, text, caret, inThread) {
  const before = text.slice(0, caret);
  if (!inThread && /^\/\S*$/.test(before)) return commands(app, before);
  const named = AT_CARET.exec(before);
  if (named) {
    const [, , sign, letters] = named;
    const options = { "@": people, "#": channels, ":": emoji }[sign](app, letters.toLowerCase()).slice(0, MOST);
    return options.length ? { from: caret - letters.length - 1, options } : null;
  }
  return inThread ? null : commandHint(app, before);
}

function commands(app, before) {
  const options = app.about.commands
    .filter((each) => each.command.startsWith(before))
    .map((each) => ({ insert: `${each.command} `, label: each.command, more: each.hint, detail: each.description, sign: icon("bolt") }));
  return options.length ? { from: 0, options } : null;
}

/** The usage of the command that is being typed. */
function commandHint(app, before) {
  const found = app.about.commands.find((each) => before.startsWith(`${each.command} `));
  return found && (found.hint || found.description) ? { from: 0, options: [], hint: found } : null;
}

function people(app, letters) {
  const fits = (...names) => names.some((name) => name.toLowerCase().split(/\s+/).some((word) => word.startsWith(letters)));
  const users = [...app.store.people(), app.store.user(app.store.get("team").bot)]
    .filter((user) => user && fits(user.name, user.real_name))
    .map((user) => ({ insert: `@${user.name} `, label: user.real_name, detail: `@${user.name} · ${user.title}`.replace(/ · $/, ""), sign: avatar(user, "tiny") }));
  const groups = app.store.groups()
    .filter((group) => fits(group.handle))
    .map((group) => ({ insert: `@${group.handle} `, label: `@${group.handle}`, detail: app.t("group", { count: group.users.length }), sign: icon("people") }));
  const all = ["channel", "here"]
    .filter((name) => fits(name))
    .map((name) => ({ insert: `@${name} `, label: `@${name}`, detail: app.t("everybody_here"), sign: icon("at") }));
  return [...users, ...groups, ...all];
}

function channels(app, letters) {
  return app.store.channels()
    .filter((channel) => !channel.is_im && channel.name.includes(letters))
    .map((channel) => ({ insert: `#${channel.name} `, label: channel.name, sign: icon("hash") }));
}

function emoji(_app, letters) {
  if (letters.length < 2) return [];
  return emojiNamed(letters, MOST).map((name) => ({ insert: `${character(name)} `, label: `:${name}:`, sign: h("span", { class: "emoji" }, character(name)) }));
}
