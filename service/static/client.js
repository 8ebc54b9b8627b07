/**
 * Live events from Headrace, in a browser: reconnects and resumes by itself.
 *
 *     import { subscribe } from "/client.js";
 *     const subscription = subscribe({
 *       url: "wss://headrace.example.com/subscribe",     // what is beside this module by default
 *       topic: "alerts",
 *       from: "latest",                                  // "earliest", {timestamp}, {offsets}
 *       where: { field: "level", in: ["ERROR"] },        // filtered by the server
 *       onEvents: (events) => { ... },                   // [{partition, offset, timestamp, key, value}]
 *       onGap: ({ dropped }) => { ... },                 // events that will never come
 *       onStatus: ({ state, detail }) => { ... },        // connecting, live, waiting, failed, closed
 *     });
 *     subscription.close();
 *
 * After a lost connection it goes on where it stopped: no event is skipped or repeated without
 * `onGap` saying so. No dependencies.
 */

const PROTOCOL = "headrace.v1";
const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 15_000;
const STABLE_MS = 10_000;
const PING_MS = 20_000;
const ANSWER_MS = 15_000;
const TOO_LARGE = 1009;
const UNAUTHORIZED = 4401;
const UNREACHABLE = "the server cannot be reached, or refuses this page or its token";

/** Close codes after which coming back with the same token is pointless. */
const FATAL_CLOSES = new Map([
  [TOO_LARGE, "the subscription is larger than what the server takes"],
  [4400, "the server did not understand this client"],
  [UNAUTHORIZED, "the token is missing, wrong or has expired"],
  [4403, "this token may not do that"],
]);

/** What a subprotocol may consist of (RFC 9110, token), in which a browser sends its token. */
const SENDABLE = /^[\w!#$%&'*+.^`|~-]*$/;

/** The `/subscribe` address beside this module. */
export function defaultUrl() {
  const url = new URL("subscribe", import.meta.url); // not "/subscribe": a proxy may have a path before both
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

/**
 * Watch a topic.
 *
 * @param {object} options
 * @param {string} [options.url] ws: or wss: address; `/subscribe` beside this module by default.
 * @param {string} options.topic
 * @param {"latest"|"earliest"|{timestamp: number}|{offsets: Object<string, number>}} [options.from]
 * @param {object} [options.where] Filter that runs on the server.
 * @param {"drop_oldest"|"conflate"|"disconnect"} [options.overflow]
 * @param {string|function(): (string|Promise<string>)} [options.token] Bearer token, or what gets
 *   one: it is asked before each connection, so also when the last token has expired.
 * @param {function(string): object} [options.parse] Reads a frame; `JSON.parse` by default, which rounds
 *   integers beyond 2^53.
 * @param {function(Array<object>, object): void} [options.onEvents] Events, and the position after them.
 * @param {function({dropped: number, next: object}): void} [options.onGap]
 * @param {function({state: string, detail: string}): void} [options.onStatus]
 * @returns {{close: function(): void, readonly position: ?object}}
 */
export function subscribe(options) {
  return new Subscription(options);
}

class Subscription {
  #options;
  #socket = null;
  #position = null;
  #delayMs = FIRST_DELAY_MS;
  #timers = new Set();
  #closed = false;
  #refused = new Map();

  constructor(options) {
    if (!options.topic) throw new TypeError("subscribe: topic is missing");
    this.#options = { from: "latest", parse: JSON.parse, ...options };
    this.#connect();
  }

  /** Next offset of every partition: what to pass as `from: {offsets}` to go on later. */
  get position() {
    return this.#position === null ? null : { ...this.#position };
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    this.#stopTimers();
    this.#socket?.close(1000);
    this.#status("closed");
  }

  async #connect() {
    this.#status("connecting");
    const { token, url, parse } = this.#options;
    let value;
    try {
      value = typeof token === "function" ? await token() : token;
    } catch (error) {
      if (!this.#closed) this.#retry(`no token: ${error}`);
      return;
    }
    if (this.#closed) return;
    if (this.#refused.has(value)) return this.#fail(this.#refused.get(value));
    if (value && !SENDABLE.test(value)) {
      return this.#fail("the token has characters that a browser cannot send, such as / or =");
    }
    let socket;
    try {
      socket = new WebSocket(url ?? defaultUrl(), value ? [PROTOCOL, `token.${value}`] : [PROTOCOL]);
    } catch (error) {
      return this.#fail(String(error));
    }
    this.#socket = socket;
    let openedAt = 0;
    let heardAt = performance.now();
    let pingedAt = 0;
    socket.onopen = () => {
      openedAt = heardAt = performance.now();
      socket.send(JSON.stringify(this.#request()));
      // A dead connection can stay open for minutes; only a ping without an answer tells.  Silence
      // does not: in the background timers run once a minute, and so do the pings.
      this.#every(PING_MS, () => {
        const now = performance.now();
        if (pingedAt > heardAt) {
          if (now - pingedAt > ANSWER_MS) this.#lost(socket, "no answer");
        } else if (socket.readyState === WebSocket.OPEN) {
          pingedAt = now;
          socket.send('{"type":"ping"}');
        }
      });
    };
    socket.onmessage = ({ data }) => {
      heardAt = performance.now();
      if (openedAt && heardAt - openedAt > STABLE_MS) this.#delayMs = FIRST_DELAY_MS;
      if (this.#socket === socket) this.#receive(parse(data), socket);
    };
    socket.onclose = ({ code, reason }) => {
      if (this.#socket !== socket || this.#closed) return;
      const fatal = FATAL_CLOSES.get(code);
      if (code === UNAUTHORIZED && typeof token === "function") {
        this.#refused.set(value, reason || fatal); // perhaps there is a new one
        this.#lost(socket, reason || fatal);
      } else if (fatal) this.#fail(reason || fatal);
      else if (openedAt) this.#lost(socket, reason || `closed (${code})`);
      else this.#lost(socket, UNREACHABLE);
    };
    // Node 22 sends no close after a connection that failed, and `ws` throws where nobody listens.
    socket.onerror = () => {
      if (!openedAt) this.#lost(socket, UNREACHABLE);
    };
  }

  #request() {
    const { topic, from, where, overflow } = this.#options;
    return {
      type: "subscribe",
      id: 1,
      topic,
      from: this.#position === null ? from : { offsets: this.#position },
      ...(where ? { where } : {}),
      ...(overflow ? { overflow } : {}),
    };
  }

  #receive(message, socket) {
    const { onEvents, onGap } = this.#options;
    switch (message.type) {
      case "subscribed":
        this.#remember(message.positions);
        this.#status("live");
        break;
      case "events":
        // remembered first: a callback that throws must not make the same events come again
        this.#remember(message.next);
        if (message.events.length) this.#tell(onEvents, message.events, this.position);
        break;
      case "gap":
        this.#remember(message.next);
        this.#tell(onGap, { dropped: message.dropped, next: message.next });
        break;
      case "error":
        if (message.retryable) this.#lost(socket, message.message);
        else this.#fail(message.message);
        break;
    }
  }

  #remember(position) {
    // An empty position belongs to a topic without partitions yet and would not resume anything.
    if (position && Object.keys(position).length) this.#position = position;
  }

  #lost(socket, detail) {
    if (this.#socket !== socket || this.#closed) return;
    this.#retry(detail);
    socket.close();
  }

  #retry(detail) {
    this.#stopTimers();
    this.#socket = null;
    const delay = this.#delayMs * (0.5 + Math.random() / 2);
    this.#delayMs = Math.min(this.#delayMs * 2, MAX_DELAY_MS);
    this.#status("waiting", detail);
    const timer = setTimeout(() => this.#connect(), delay);
    this.#timers.add(() => clearTimeout(timer));
  }

  #fail(detail) {
    this.#closed = true;
    this.#stopTimers();
    this.#socket?.close(1000);
    this.#status("failed", detail);
  }

  #every(ms, callback) {
    const timer = setInterval(callback, ms);
    this.#timers.add(() => clearInterval(timer));
  }

  #stopTimers() {
    for (const stop of this.#timers) stop();
    this.#timers.clear();
  }

  #status(state, detail = "") {
    this.#tell(this.#options.onStatus, { state, detail });
  }

  /** Call back; what that throws is reported as of any handler, and must not end the connection. */
  #tell(callback, ...values) {
    try {
      callback?.(...values);
    } catch (error) {
      setTimeout(() => { throw error; });
    }
  }
}
