/** JSON whose numbers keep all their digits: an id of 64 bits is none of JavaScript's numbers. */
const LONG = /\d{16}/;
const EXACT = "rawJSON" in JSON; // else as well as the browser can

/** Like `JSON.parse`; numbers that it would change become what `JSON.stringify` writes unchanged. */
export function parse(text) {
  return EXACT && LONG.test(text) ? JSON.parse(text, (_, value, { source }) => exact(value, source)) : JSON.parse(text);
}

/** The number that is written as `text`. */
export function number(text) {
  return EXACT ? exact(Number(text), text) : Number(text);
}

function exact(value, source) {
  const changed = typeof value === "number" && source.length > 15 && String(value) !== source;
  return changed ? JSON.rawJSON(source) : value;
}
