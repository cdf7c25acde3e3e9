// Speaking with the sandbox. The page names who acts; the sandbox signs what the bot receives.

/** Something was not done; `key` is a word of the page or a code of Slack. */
export class Failure extends Error {
  constructor(key) {
    super(key);
    this.key = key;
  }
}

async function answer(response) {
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Failure(body.error ?? "not_connected");
  return body;
}

export async function get(path) {
  try {
    return await answer(await fetch(`api/${path}`));
  } catch (error) {
    throw error instanceof Failure ? error : new Failure("not_connected");
  }
}

export async function post(path, body) {
  const request = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  try {
    return await answer(await fetch(`api/${path}`, request));
  } catch (error) {
    throw error instanceof Failure ? error : new Failure("not_connected");
  }
}

export function fileAddress(id, as) {
  return `api/file/${encodeURIComponent(id)}${as ? `?as=${as}` : ""}`;
}

/** The live connection of one person; the browser opens it again by itself when it is lost. */
export function live(handle, { onPatch, onStatus }) {
  const source = new EventSource(`api/stream?as=${encodeURIComponent(handle)}`);
  source.addEventListener("all", (event) => {
    onStatus(true);
    onPatch(JSON.parse(event.data), true);
  });
  source.addEventListener("change", (event) => onPatch(JSON.parse(event.data), false));
  source.addEventListener("error", () => onStatus(false));
  return () => source.close();
}
