const TURNING = /[\u202a-\u202e\u2066-\u2069]/g;

/** Text without the characters that turn round what stands after it, such as the digits of a number: they are named. */
function plain(text) {
  return String(text).replace(TURNING, (character) => `\\u${character.charCodeAt(0).toString(16)}`);
}

/** Elements from plain values: text only ever becomes text. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children) {
    if (child !== null && child !== undefined) element.append(child instanceof Node ? child : plain(child));
  }
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Set text only when it changes: screen readers and layout stay calm. */
export function setText(element, text) {
  text = plain(text);
  if (element.textContent !== text) element.textContent = text;
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export function count(value) {
  return Math.abs(value) < 100_000 ? whole.format(value) : short.format(value);
}

export function rate(value) {
  return value > 0 && value < 10 ? value.toFixed(1) : count(value);
}

export function millis(value) {
  if (value >= 10_000) return [`${(value / 1000).toFixed(1)}`, "s"];
  return [value >= 100 ? whole.format(value) : value.toFixed(value >= 10 ? 0 : 1), "ms"];
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 60) return `${value < 10 ? value.toFixed(1) : whole.format(value)} s`;
  if (value < 3600) return `${Math.floor(value / 60)} min ${Math.floor(value % 60)} s`;
  if (value < 172_800) return `${Math.floor(value / 3600)} h ${Math.floor((value % 3600) / 60)} min`;
  return `${Math.floor(value / 86_400)} d`;
}

export function bytes(value) {
  if (value < 1024) return `${value} B`;
  const units = ["KiB", "MiB", "GiB"];
  let unit = -1;
  do { value /= 1024; unit += 1; } while (value >= 1024 && unit < units.length - 1);
  return `${value.toFixed(value < 10 ? 1 : 0)} ${units[unit]}`;
}
