// What the server has told about the screen of one person, by key. Records are replaced, never changed: whoever
// keeps one can tell by identity whether it is still the same.

export class Store extends EventTarget {
  #records = new Map();
  #messages = new Map(); // channel id → Map of ts → message
  names = 0; // rises when something that messages mention by id is called otherwise

  /** Take a patch in; `all`: it is everything. Fires `change` with the set of keys in `detail`. */
  apply(patch, all) {
    const gone = all ? [...this.#records.keys()].filter((key) => !(key in patch.set)) : patch.gone;
    for (const key of gone) this.#take(key);
    for (const [key, record] of Object.entries(patch.set)) this.#put(key, record);
    this.dispatchEvent(new CustomEvent("change", { detail: new Set([...gone, ...Object.keys(patch.set)]) }));
  }

  clear() {
    this.#records.clear();
    this.#messages.clear();
    this.names += 1;
  }

  get(key) {
    return this.#records.get(key);
  }

  user(id) {
    return this.get(`user/${id}`);
  }

  channel(id) {
    return this.get(`channel/${id}`);
  }

  message(channel, ts) {
    return this.#messages.get(channel)?.get(ts);
  }

  people() {
    return this.#all("user/").filter((user) => !user.is_bot);
  }

  groups() {
    return this.#all("group/");
  }

  channels() {
    return this.#all("channel/");
  }

  botChannel() {
    return this.channels().find((channel) => channel.is_im);
  }

  /** All messages of a channel, oldest first. */
  messages(channel) {
    return [...(this.#messages.get(channel)?.values() ?? [])].sort(byTime);
  }

  /** What stands in the channel itself: no replies, but those that were sent to the channel too. */
  timeline(channel) {
    return this.messages(channel).filter((message) => !message.is_reply || message.broadcast);
  }

  /** A thread: its first message and the replies. */
  thread(channel, ts) {
    return this.messages(channel).filter((message) => message.ts === ts || message.thread_ts === ts);
  }

  #all(prefix) {
    return [...this.#records].filter(([key]) => key.startsWith(prefix)).map(([, record]) => record);
  }

  #put(key, record) {
    const [kind, channel, ts] = key.split("/");
    if (kind === "message") {
      if (!this.#messages.has(channel)) this.#messages.set(channel, new Map());
      this.#messages.get(channel).set(ts, record);
    } else if (kind !== "view" && kind !== "home" && this.get(key)?.name !== record.name) {
      this.names += 1;
    }
    this.#records.set(key, record);
  }

  #take(key) {
    const [kind, channel, ts] = key.split("/");
    if (kind === "message") this.#messages.get(channel)?.delete(ts);
    this.#records.delete(key);
  }
}

function byTime(one, other) {
  return one.ts < other.ts ? -1 : 1;
}
