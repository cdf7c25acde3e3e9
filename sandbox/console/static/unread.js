// What a person has read, by channel; kept by the browser.

const KEY = "console.read";

export class Unread {
  #read;
  #handle;

  constructor(handle) {
    this.#handle = handle;
    this.#read = JSON.parse(localStorage.getItem(`${KEY}.${handle}`) ?? "{}");
  }

  /** ts of the newest message that was read. */
  until(channel) {
    return this.#read[channel] ?? "0";
  }

  /** The channel is read up to its newest message. True when that is news. */
  mark(store, channel) {
    const newest = store.timeline(channel).at(-1)?.ts;
    if (!newest || newest <= this.until(channel)) return false;
    this.#read[channel] = newest;
    localStorage.setItem(`${KEY}.${this.#handle}`, JSON.stringify(this.#read));
    return true;
  }

  /** How many messages are new for this person, and how many of them ring. */
  counts(store, channel, me) {
    const until = this.until(channel.id);
    const fresh = store.timeline(channel.id).filter((message) => message.ts > until && message.user !== me && !message.subtype);
    const ringing = fresh.filter((message) => message.rings || channel.is_im);
    return { unread: fresh.length, rings: ringing.length };
  }
}
