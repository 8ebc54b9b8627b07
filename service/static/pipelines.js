/** The panels of the pipelines: figures of `/api/status` as they come. */
import { Chart } from "./chart.js";
import { byId, bytes, count, h, millis, rate, seconds, setText } from "./dom.js";

const panels = new Map();

/** Show `status`; pipelines that are gone lose their panel. */
export function showPipelines(status) {
  const pipelines = status.pipelines ?? {};
  const root = byId("pipelines");
  for (const [name, panel] of panels) {
    if (!(name in pipelines)) {
      panel.element.remove();
      panels.delete(name);
    }
  }
  for (const [name, facts] of Object.entries(pipelines)) {
    let panel = panels.get(name);
    if (!panel) {
      panel = new Panel(name);
      panels.set(name, panel);
      root.append(panel.element);
    }
    panel.show(facts, status.stale);
  }
  const empty = byId("pipelines-empty");
  empty.hidden = panels.size > 0;
  setText(empty, "No pipelines are configured.");
}

/** The figures stopped coming: leave a hole in the lines instead of a lie. */
export function showNothing() {
  for (const panel of panels.values()) panel.pause();
}

class Panel {
  constructor(name) {
    this.about = h("p");
    this.rates = new Pair(
      ["Events in", "Results out"],
      ([into, out]) => `${rate(into)} events in and ${rate(out)} results out per second`,
      (value) => [rate(value), "/s"],
    );
    this.latency = new Pair(
      ["Latency p50", "p99"],
      ([p50, p99]) => `latency: median ${millis(p50).join(" ")}, 99th percentile ${millis(p99).join(" ")}`,
      millis,
    );
    this.lag = new Pair(
      ["Lag", "In channel"],
      ([lag, depth]) => `${count(lag)} records behind, ${count(depth)} in the channel`,
      (value) => [count(value), ""],
    );
    this.running = new Pair(
      ["In flight", "Waiting to retry"],
      ([running, parked]) => `${count(running)} in flight, ${count(parked)} waiting to retry`,
      (value) => [count(value), ""],
    );
    this.dead = new Pair(
      ["Dead letters"],
      ([dead]) => `${count(dead)} dead letters so far`,
      (value) => [count(value), "in all"],
    );
    this.deadCodes = h("p", { class: "codes" });
    this.dead.element.querySelector(".chart-head").append(this.deadCodes);
    this.meter = h("meter", { min: 0, max: 1, low: 0.7, high: 0.9, optimum: 0, "aria-label": `Channel of ${name}` });
    this.channel = h("p");
    this.depth = h("span", { class: "value" }, "–");
    this.blocked = h("div", { "aria-live": "polite" });
    this.partitions = h("tbody");
    this.partitionsTitle = h("summary");
    this.element = h("article", { class: "panel", "aria-label": `Pipeline ${name}` },
      h("div", { class: "pipeline-head" }, h("h2", {}, name), this.about),
      this.blocked,
      h("div", { class: "charts" }, this.rates.element, this.latency.element, this.lag.element,
        this.running.element, this.dead.element,
        h("div", { class: "channel" },
          h("div", { class: "figure" }, h("span", { class: "name" }, "Channel"), this.depth),
          this.meter, this.channel)),
      h("details", { class: "partitions" }, this.partitionsTitle,
        h("div", { class: "scroll" }, h("table", {},
          h("thead", {}, h("tr", {}, ...["Partition", "Lag", "Behind", "In flight", "Oldest", "Last commit"]
            .map((title) => h("th", { scope: "col" }, title)))),
          this.partitions))));
  }

  show(facts, stale) {
    const partitions = facts.partitions ?? [];
    const lag = partitions.reduce((sum, each) => sum + Math.max(0, each.lag ?? 0), 0);
    const channel = facts.channel ?? { depth: 0, peak: 0, capacity: 0, bytes: 0 };
    this.rates.push([facts.rate_in, facts.rate_out]);
    this.latency.push([facts.latency_ms.p50, facts.latency_ms.p99]);
    this.lag.push([lag, channel.depth]);
    setText(this.about, stale ? "figures are old: the event loop is blocked" : topics(partitions));
    this.meter.value = channel.capacity ? channel.depth / channel.capacity : 0;
    const dead = Object.entries(facts.dead_letters ?? {});
    const deadCount = dead.reduce((sum, [, value]) => sum + value, 0);
    this.running.push([facts.in_flight ?? 0, facts.parked ?? 0]);
    this.dead.push([deadCount]);
    setText(this.deadCodes, dead.map(([code, value]) => `${code} ${count(value)}`).join(" · "));
    this.depth.replaceChildren(count(channel.depth), h("span", { class: "unit" }, `of ${count(channel.capacity)}`));
    setText(this.channel, `${bytes(channel.bytes)} · peak ${count(channel.peak)}`);
    this.showBlocked(partitions.filter((each) => each.blocking));
    this.showPartitions(partitions);
  }

  pause() {
    for (const pair of [this.rates, this.latency, this.lag, this.running, this.dead]) pair.pause();
  }

  showBlocked(partitions) {
    const boxes = partitions.slice(0, 5).map(({ topic, partition, blocking }) => {
      const parts = [h("b", {}, `${topic}/${partition} is held up`)];
      if (blocking.offset !== null && blocking.offset !== undefined) parts.push(" at offset ", h("code", {}, `${blocking.offset}`));
      if (blocking.key) parts.push(", key ", h("code", {}, blocking.key));
      if (blocking.handler) parts.push(", by handler ", h("code", {}, blocking.handler));
      if (blocking.attempts > 1) parts.push(`, attempt ${blocking.attempts}`);
      parts.push(`: ${words(blocking.cause)}`);
      return h("p", { class: "blocked" }, ...parts);
    });
    if (partitions.length > 5) boxes.push(h("p", { class: "blocked" }, `and ${partitions.length - 5} more partitions`));
    const text = boxes.map((box) => box.textContent).join("\n");
    if (this.blockedText !== text) this.blocked.replaceChildren(...boxes);
    this.blockedText = text;
  }

  showPartitions(partitions) {
    setText(this.partitionsTitle, `${partitions.length} ${partitions.length === 1 ? "partition" : "partitions"}`);
    this.partitions.replaceChildren(...partitions.map((each) => h("tr", {},
      h("td", {}, `${each.topic}/${each.partition}${each.paused ? " (paused)" : ""}`),
      h("td", {}, each.lag === null ? "–" : count(each.lag)),
      h("td", {}, seconds(each.lag_s)),
      h("td", {}, count(each.in_flight)),
      h("td", {}, seconds(each.oldest_in_flight_s)),
      h("td", {}, each.commit_age_s === null ? "–" : `${seconds(each.commit_age_s)} ago`))));
  }
}

/** Two series in one chart, with their latest values in figures. */
class Pair {
  constructor(names, describe, format) {
    this.format = format;
    this.values = names.map(() => h("span", { class: "value" }, "–"));
    this.latest = null;
    this.chart = new Chart(names, describe, (hovered) => this.write(hovered ?? this.latest));
    this.element = h("div", {},
      h("div", { class: "chart-head" }, ...names.map((name, index) => h("div", { class: "figure" },
        h("span", { class: "name" }, h("i", { class: `swatch ${index ? "second" : "first"}`, "aria-hidden": "true" }), name),
        this.values[index]))),
      this.chart.element);
  }

  push(values) {
    this.latest = values;
    this.chart.push(values);
    this.write(values);
  }

  pause() {
    this.push(this.values.map(() => null));
  }

  write(values) {
    values?.forEach((value, index) => {
      const [text, unit] = value === null || value === undefined ? ["–", ""] : this.format(value);
      this.values[index].replaceChildren(text, h("span", { class: "unit" }, unit));
    });
  }
}

function topics(partitions) {
  const names = [...new Set(partitions.map((each) => each.topic))];
  return names.length > 3 ? `reads ${names.length} topics` : names.length ? `reads ${names.join(", ")}` : "";
}

const CAUSES = {
  slow_handler: "it has been running for long",
  retry: "it failed and waits for its next attempt",
  broker: "Kafka does not answer or does not acknowledge",
  backpressure: "everything ahead of it is busy",
  paused: "the partition is paused",
  forbidden: "the service has no right to read the topic",
  rebalance: "the group is handing out partitions",
  state: "its state is being restored",
};

function words(cause) {
  return CAUSES[cause] ?? String(cause ?? "for an unknown reason").replaceAll("_", " ");
}
