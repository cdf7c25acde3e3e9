// The page's own words, in one of two languages.
import { en } from "./words.en.js";
import { es } from "./words.es.js";

export const LANGUAGES = { es, en };

/** `?lang=`, else what was chosen before, else the browser's. */
export function chosenLanguage() {
  const asked = new URLSearchParams(location.search).get("lang") ?? localStorage.getItem("console.lang");
  const wanted = [asked, ...navigator.languages].map((each) => (each ?? "").slice(0, 2).toLowerCase());
  return wanted.find((each) => each in LANGUAGES) ?? "en";
}

/** A function from a word's key and its facts (`{name}` in the text) to the text. */
export function wordsOf(language) {
  const words = LANGUAGES[language];
  return (key, facts = {}) => {
    const text = words[key] ?? key;
    return text.replace(/\{(\w+)\}/g, (whole, name) => (name in facts ? String(facts[name]) : whole));
  };
}

const REFUSALS = [
  [/^Please complete this required field\.$/, "refused.required"],
  [/^Must be between (.+) and (.+) characters\.$/, "refused.length"],
  [/^Must be between (.+) and (.+)\.$/, "refused.range"],
  [/^Please enter a (number|whole number|valid URL|valid email address)\.$/, "refused.kind"],
  [/^Please choose at most (\d+)\.$/, "refused.most"],
];

/** What Slack's own app refuses, in the page's language; the bot's words stay the bot's. */
export function refusalText(t, text) {
  for (const [pattern, key] of REFUSALS) {
    const [, one, two] = pattern.exec(text) ?? [];
    if (pattern.test(text)) return t(key, { one: one && (key === "refused.kind" ? t(`kind.${one}`) : one), two });
  }
  return text;
}

/** What a failure's key means in words; Slack's own codes are shown as they are. */
export function failureText(t, key) {
  const known = t(`failure.${key}`);
  return known === `failure.${key}` ? t("failure.other", { code: key }) : known;
}
