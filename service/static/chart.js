/** A small live line chart on a canvas: up to two series over the last minutes. */
const SAMPLES = 120;

export class Chart {
  #canvas;
  #series;
  #values;
  #describe;
  #hover = null;

  /**
   * @param {Array<string>} names Names of the series.
   * @param {function(Array<number>): string} describe What a screen reader says of the latest values.
   * @param {function(?Array<?number>): void} onHover Values under the pointer, or null.
   */
  constructor(names, describe, onHover) {
    this.#series = names;
    this.#describe = describe;
    this.#values = names.map(() => []);
    this.#canvas = document.createElement("canvas");
    this.#canvas.className = "plot";
    this.#canvas.setAttribute("role", "img");
    this.#name(names.map(() => null));
    this.#canvas.addEventListener("pointermove", (event) => {
      const box = this.#canvas.getBoundingClientRect();
      this.#hover = Math.round(((event.clientX - box.left) / box.width) * (SAMPLES - 1));
      this.draw();
      const at = this.#hover - (SAMPLES - this.#values[0].length);
      onHover(at >= 0 ? this.#values.map((values) => values[at]) : null);
    });
    this.#canvas.addEventListener("pointerleave", () => {
      this.#hover = null;
      this.draw();
      onHover(null);
    });
    new ResizeObserver(() => this.draw()).observe(this.#canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  get element() {
    return this.#canvas;
  }

  /** Add one value per series; `null` leaves a hole. */
  push(values) {
    values.forEach((value, index) => {
      const kept = this.#values[index];
      kept.push(value);
      if (kept.length > SAMPLES) kept.shift();
    });
    this.#name(values);
    this.draw();
  }

  #name(values) {
    const known = values.every((value) => value !== null);
    this.#canvas.setAttribute("aria-label", known ? this.#describe(values) : `${this.#series.join(", ")}: no figures`);
  }

  draw() {
    const canvas = this.#canvas;
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    if (!width || !height) return;
    const scale = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const context = canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);

    const top = ceiling(Math.max(0, ...this.#values.flat().filter((value) => value !== null)));
    const bottom = height - 6;
    const y = (value) => bottom - (value / top) * (bottom - 18);
    const x = (index, length) => ((SAMPLES - length + index) / (SAMPLES - 1)) * width;

    context.strokeStyle = colour("--line");
    context.lineWidth = 1;
    context.beginPath();
    for (const level of [0, top / 2, top]) {
      context.moveTo(0, Math.round(y(level)) + 0.5);
      context.lineTo(width, Math.round(y(level)) + 0.5);
    }
    context.stroke();
    context.fillStyle = colour("--muted");
    context.font = "11px system-ui, sans-serif";
    context.fillText(label(top), 6, 13);

    const strokes = [colour("--in"), colour("--out")];
    this.#values.forEach((values, series) => {
      context.strokeStyle = strokes[series];
      context.lineWidth = 2;
      context.lineJoin = "round";
      context.setLineDash(series === 1 ? [5, 3] : []);
      context.beginPath();
      let drawing = false;
      values.forEach((value, index) => {
        if (value === null) drawing = false;
        else if (drawing) context.lineTo(x(index, values.length), y(value));
        else {
          context.moveTo(x(index, values.length), y(value));
          drawing = true;
        }
      });
      context.stroke();
      if (series === 0 && values.length > 1 && !values.includes(null)) {
        context.lineTo(width, bottom);
        context.lineTo(x(0, values.length), bottom);
        context.globalAlpha = 0.1;
        context.fillStyle = strokes[0];
        context.fill();
        context.globalAlpha = 1;
      }
    });
    context.setLineDash([]);
    if (this.#hover !== null) {
      context.strokeStyle = colour("--muted");
      context.lineWidth = 1;
      context.beginPath();
      const at = Math.round((this.#hover / (SAMPLES - 1)) * width) + 0.5;
      context.moveTo(at, 0);
      context.lineTo(at, height);
      context.stroke();
    }
  }
}

/** The next of 1, 2, 5, 10, 20, ... at or above `value`. */
function ceiling(value) {
  if (value <= 1) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find((step) => step * power >= value) * power;
}

function label(value) {
  return value >= 1000 ? `${value / 1000}k` : `${value}`;
}
