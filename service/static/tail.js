/** The tail of a topic: filter, pause, expand; what is not shown is said. */
import { subscribe } from "./client.js";
import { byId, count, h, setText } from "./dom.js";
import { number, parse } from "./numbers.js";

const MAX_ROWS = 200;
const MAX_PAUSED = 1000;

const BAD = new Set(["ERROR", "FATAL", "CRITICAL", "ALERT", "EMERGENCY"]);
const WARN = new Set(["WARN", "WARNING"]);

export class Tail {
  #token;
  #subscription = null;
  #waiting = [];
  #paused = false;
  #frame = 0;
  #seen = 0;
  #skipped = 0;
  #dropped = 0;
  #listed = "";
  #state = { state: "connecting", detail: "" };

  /** @param {function(): ?string} token The token to use, if any. */
  constructor(token) {
    this.#token = token;
    byId("controls").addEventListener("submit", (event) => {
      event.preventDefault();
      this.start();
    });
    byId("pause").addEventListener("click", () => this.#pause(!this.#paused));
    byId("clear").addEventListener("click", () => this.#clear());
    byId("topic").addEventListener("change", () => this.start());
    byId("from").addEventListener("change", ({ target }) => {
      document.querySelector(".at-time").hidden = target.value !== "timestamp";
      document.querySelector(".at-offsets").hidden = target.value !== "offsets";
    });
    document.addEventListener("keydown", (event) => {
      const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
      if (event.key === "p" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
        this.#pause(!this.#paused);
      }
    });
  }

  /** Offer `topics`, and start with the one that was chosen, or the first. */
  setTopics(topics) {
    this.#list(topics);
    if (topics.length) return this.start();
    this.#subscription?.close();
    this.#subscription = null;
    setText(byId("tail-empty"), "There is no topic that you may watch.");
    this.#show({ state: "failed", detail: "no topics" });
  }

  /** Offer `topics` in place of those before; what is watched goes on if it is among them. */
  renewTopics(topics) {
    const before = byId("topic").value;
    if (topics.length && topics.some(({ name }) => name === before)) this.#list(topics);
    else if (topics.length || before) this.setTopics(topics);
  }

  #list(topics) {
    const names = JSON.stringify(topics);
    if (this.#listed === names) return; // an open list of choices would close
    this.#listed = names;
    const select = byId("topic");
    const chosen = select.value;
    const kinds = [["Results", false], ["Dead letters", true]];
    select.replaceChildren(...kinds.flatMap(([label, dead]) => {
      const names = topics.filter((topic) => topic.dead_letter === dead);
      if (!names.length) return [];
      return [h("optgroup", { label }, ...names.map(({ name }) => h("option", { value: name }, name)))];
    }));
    if (topics.some(({ name }) => name === chosen)) select.value = chosen;
  }

  /** Subscribe as the controls say. */
  start() {
    const topic = byId("topic").value;
    if (!topic) return;
    let from, where;
    try {
      from = readFrom();
      where = readWhere(byId("where").value);
    } catch (error) {
      return this.#complain(error);
    }
    this.#complain(null);
    this.#subscription?.close();
    this.#clear();
    this.#pause(false);
    this.#subscription = subscribe({
      topic, from, where, parse, token: this.#token,
      onEvents: (events) => this.#take(events),
      onGap: ({ dropped }) => this.#take([{ gap: dropped }]),
      onStatus: (state) => this.#show(state),
    });
  }

  /** Where the tail is, for whoever wants to check it. */
  get position() {
    return this.#subscription?.position ?? null;
  }

  #take(events) {
    for (const event of events) {
      if (event.gap === undefined) this.#seen += 1;
      else this.#dropped += event.gap;
    }
    this.#waiting.push(...events);
    const most = this.#paused ? MAX_PAUSED : MAX_ROWS;
    if (this.#waiting.length > most) {
      this.#skipped += this.#waiting.length - most;
      this.#waiting.splice(0, this.#waiting.length - most);
    }
    this.#later();
  }

  #later() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#render();
    });
  }

  #render() {
    const list = byId("tail");
    if (!this.#paused && this.#waiting.length) {
      const rows = this.#waiting.splice(0).map((event) =>
        event.gap === undefined ? row(event) : gapRow(event.gap));
      list.prepend(...rows.reverse());
      while (list.children.length > MAX_ROWS) list.lastElementChild.remove();
    }
    byId("tail-empty").hidden = list.children.length > 0;
    const parts = [];
    if (this.#seen) parts.push(`${count(this.#seen)} events`);
    if (this.#paused) parts.push(`paused, ${count(this.#waiting.length)} waiting`);
    if (this.#skipped) parts.push(`${count(this.#skipped)} not shown here`);
    if (this.#dropped) parts.push(`${count(this.#dropped)} dropped by the server`);
    setText(byId("tail-summary"), parts.join(" · "));
  }

  #pause(paused) {
    this.#paused = paused;
    const button = byId("pause");
    button.setAttribute("aria-pressed", String(paused));
    setText(button, paused ? "Resume" : "Pause");
    this.#show(this.#state);
    this.#later();
  }

  #clear() {
    this.#waiting = [];
    this.#seen = this.#skipped = this.#dropped = 0;
    byId("tail").replaceChildren();
    this.#later();
  }

  #show(state) {
    this.#state = state;
    const element = byId("feed-state");
    const shown = this.#paused && state.state === "live" ? "paused" : state.state;
    element.dataset.state = shown;
    const text = { waiting: "reconnecting", failed: "stopped", closed: "stopped" }[shown] ?? shown;
    setText(element, state.detail ? `${text}: ${state.detail}` : text);
  }

  #complain(problem) {
    const element = byId("problem");
    element.hidden = problem === null;
    setText(element, problem?.message ?? "");
    for (const id of ["where", "at-time", "at-offsets"]) {
      byId(id).setAttribute("aria-invalid", String(problem?.input === id));
    }
  }
}

/** Something that cannot be asked for; `input` is where it was entered. */
class Complaint extends Error {
  constructor(input, message) {
    super(message);
    this.input = input;
  }
}

function row(event) {
  const level = levelOf(event.value);
  const dead = event.headers?.["headrace-error"];
  const details = h("details", {},
    h("summary", {},
      clock(event.timestamp),
      h("span", { class: "place" }, `${event.partition}:${event.offset}`),
      h("span", { class: "key" }, keyText(event.key)),
      h("span", { class: "what" },
        dead ? h("span", { class: "level", "data-level": "bad" }, dead) : level,
        h("span", { class: "value" }, dead ? deadLine(event) : preview(event.value)))));
  details.addEventListener("toggle", () => {
    // built when it is first opened: most never are
    if (!details.open || details.childElementCount > 1) return;
    if (event.headers) details.append(headerList(event.headers));
    details.append(h("pre", {}, typeof event.value === "string" ? event.value : JSON.stringify(event.value, null, 2)));
  });
  return h("li", { "data-offset": event.offset, "data-partition": event.partition }, details);
}

function gapRow(dropped) {
  return h("li", { class: "gap" }, dropped
    ? `${count(dropped)} events dropped: this page could not keep up, or they were gone`
    : "events are missing here: the topic was cut or made anew");
}

function headerList(headers) {
  return h("dl", {}, ...Object.entries(headers).flatMap(([name, value]) =>
    [h("dt", {}, name.replace(/^headrace-/, "")), h("dd", {}, value)]));
}

function deadLine({ headers }) {
  return [headers["headrace-origin"], headers["headrace-handler"], headers["headrace-error-detail"]]
    .filter(Boolean).join(" · ");
}

function levelOf(value) {
  const level = value && typeof value === "object" && typeof value.level === "string" ? value.level.toUpperCase() : "";
  if (!level) return null;
  return h("span", { class: "level", "data-level": BAD.has(level) ? "bad" : WARN.has(level) ? "warn" : "" }, level.slice(0, 9));
}

function keyText(key) {
  if (key === null) return "";
  return typeof key === "string" ? key : JSON.stringify(key);
}

function preview(value) {
  if (value && typeof value === "object" && typeof value.message === "string") {
    const { message, level, ...rest } = value;
    if (typeof level !== "string") rest.level = level; // else it has been shown
    return Object.keys(rest).length ? `${message}  ${JSON.stringify(rest)}`.slice(0, 400) : message.slice(0, 400);
  }
  if (value === null) return "deleted (tombstone)";
  return (typeof value === "string" ? value : JSON.stringify(value)).slice(0, 400);
}

/** The time of day here, with the date where it is not today's; the title has the time zone. */
function clock(timestamp) {
  const time = new Date(timestamp);
  if (timestamp < 0 || Number.isNaN(time.getTime())) return h("time", {}, "no time");
  const pad = (value, width = 2) => String(value).padStart(width, "0");
  const date = `${time.getFullYear()}-${pad(time.getMonth() + 1)}-${pad(time.getDate())} `;
  const clock = `${pad(time.getHours())}:${pad(time.getMinutes())}:${pad(time.getSeconds())}.${pad(time.getMilliseconds(), 3)}`;
  const today = time.toDateString() === new Date().toDateString();
  return h("time", { datetime: time.toISOString(), title: time.toString() }, today ? clock : date + clock);
}

function readFrom() {
  const kind = byId("from").value;
  if (kind === "timestamp") {
    const time = new Date(byId("at-time").value).getTime();
    if (Number.isNaN(time)) throw new Complaint("at-time", "Choose a time to start from.");
    return { timestamp: time };
  }
  if (kind === "offsets") {
    const pairs = byId("at-offsets").value.split(/[\s,]+/).filter(Boolean).map((pair) => pair.split(":"));
    if (!pairs.length || pairs.some(([p, o]) => !/^\d+$/.test(p) || !/^\d+$/.test(o ?? ""))) {
      throw new Complaint("at-offsets", "Offsets are written partition:offset, for example 0:120, 1:87.");
    }
    return { offsets: Object.fromEntries(pairs.map(([p, o]) => [p, Number(o)])) };
  }
  return kind;
}

const ORDERS = { ">": "gt", ">=": "gte", "<": "lt", "<=": "lte" };
const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;
const WORDS = { true: true, false: false, null: null };

/** `field = a, b`, `field > 5` as structured filters (fast); anything else as JMESPath. */
export function readWhere(text) {
  text = text.trim();
  if (!text) return undefined;
  const simple = /^([A-Za-z_][\w.-]*)\s*(!=|>=|<=|==?|>|<)\s*([^=<>!&|()'"`]+)$/.exec(text);
  if (!simple) return { expression: text };
  const [, field, operator, rest] = simple;
  const texts = rest.split(",").map((value) => value.trim());
  if (operator in ORDERS) {
    if (texts.length > 1) throw new Complaint("where", `${operator} compares with one value.`);
    return { field, [ORDERS[operator]]: NUMBER.test(texts[0]) ? number(texts[0]) : texts[0] };
  }
  return { field, [operator === "!=" ? "not_in" : "in"]: texts.flatMap(meanings) };
}

/** What may be stored where a reader sees `text`: events have 7 as well as "7". */
function meanings(text) {
  if (NUMBER.test(text)) return [number(text), text];
  return Object.hasOwn(WORDS, text) ? [WORDS[text], text] : [text];
}
