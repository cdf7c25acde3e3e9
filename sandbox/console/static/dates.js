// Moments in words. Times are of the reader's own zone, as in Slack.

/** The moment of a message's `ts`. */
export function momentOf(ts) {
  return new Date(Number.parseFloat(ts) * 1000);
}

export function timeText(lang, moment, seconds = false) {
  const how = { hour: "numeric", minute: "2-digit", ...(seconds ? { second: "2-digit" } : {}) };
  return moment.toLocaleTimeString(lang, how);
}

export function dayKey(moment) {
  return `${moment.getFullYear()}-${moment.getMonth()}-${moment.getDate()}`;
}

/** Today, yesterday, or null for another day. */
function nearDay(t, moment) {
  const yesterday = new Date();
  yesterday.setDate(yesterday.getDate() - 1);
  if (dayKey(moment) === dayKey(new Date())) return t("today");
  return dayKey(moment) === dayKey(yesterday) ? t("yesterday") : null;
}

export function dayText({ t, lang }, moment) {
  return nearDay(t, moment) ?? capital(moment.toLocaleDateString(lang, { weekday: "long", day: "numeric", month: "long" }));
}

export function fullText(lang, moment) {
  return moment.toLocaleString(lang, { dateStyle: "full", timeStyle: "medium" });
}

/** "5 minutes ago" and the like. */
export function agoText(lang, moment) {
  const seconds = Math.round((moment - Date.now()) / 1000);
  const words = new Intl.RelativeTimeFormat(lang, { numeric: "auto" });
  for (const [unit, size] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
    if (Math.abs(seconds) >= size) return words.format(Math.trunc(seconds / size), unit);
  }
  return words.format(seconds, "second");
}

/** The tokens of `<!date^…>`. https://docs.slack.dev/messaging/formatting-message-text#date-formatting */
export function dateFormat({ t, lang }, timestamp, format) {
  const moment = new Date(timestamp * 1000);
  const written = (how) => moment.toLocaleDateString(lang, how);
  const short = () => written({ day: "numeric", month: "short", year: "numeric" });
  const usual = () => written({ day: "numeric", month: "long", year: "numeric" });
  const long = () => written({ weekday: "long", day: "numeric", month: "long", year: "numeric" });
  const near = () => nearDay(t, moment)?.toLowerCase();
  const tokens = {
    date_num: () => `${moment.getFullYear()}-${two(moment.getMonth() + 1)}-${two(moment.getDate())}`,
    date_slash: () => `${moment.getFullYear()}/${two(moment.getMonth() + 1)}/${two(moment.getDate())}`,
    date: usual,
    date_short: short,
    date_long: long,
    date_pretty: () => near() ?? usual(),
    date_short_pretty: () => near() ?? short(),
    date_long_pretty: () => near() ?? long(),
    day_divider_pretty: () => near() ?? long(),
    time: () => timeText(lang, moment),
    time_secs: () => timeText(lang, moment, true),
    ago: () => agoText(lang, moment),
  };
  return format.replace(/\{(\w+)\}/g, (whole, name) => tokens[name]?.() ?? whole);
}

function two(number) {
  return String(number).padStart(2, "0");
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
