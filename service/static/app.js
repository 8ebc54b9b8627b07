/** The live page: polls the figures, tails a topic, asks for a token where one is needed. */
import { byId, seconds, setText } from "./dom.js";
import { showNothing, showPipelines } from "./pipelines.js";
import { Tail } from "./tail.js";

const POLL_MS = 1000;
const TIMEOUT_MS = 5000;
const HOLE_MS = 10_000;
const TOPICS_MS = 30_000;
const TOKEN = "headrace-token";

const kept = storage();
let token = kept?.getItem(TOKEN) ?? null;
byId("token-button").hidden = token === null; // the one that is kept may be the wrong one
const tail = new Tail(() => token);
let shownAt = 0;
let listedAt = 0;
let tailing = false;
let asking = false;

/** What outlives a reload of this tab; null where the browser lets pages keep nothing. */
function storage() {
  try {
    return sessionStorage;
  } catch {
    return null;
  }
}

class UnauthorizedError extends Error {}

async function get(path) {
  const response = await fetch(path, {
    headers: token ? { Authorization: `Bearer ${token}` } : {},
    signal: AbortSignal.timeout(TIMEOUT_MS),
    cache: "no-store",
  });
  if (response.status === 401) throw new UnauthorizedError();
  if (!response.ok) {
    // our own reasons are plain text; what is not is a page of a proxy's
    const ours = response.headers.get("Content-Type")?.startsWith("text/plain");
    throw new Error(`${path}: ${response.status} ${ours ? await response.text() : ""}`.trim());
  }
  return response.json();
}

async function poll() {
  try {
    // now and then again: this page outlives restarts with another configuration, and changes of the token's rights
    if (!tailing || performance.now() - listedAt > TOPICS_MS) {
      const { topics } = await get("api/topics");
      listedAt = performance.now();
      if (tailing) tail.renewTopics(topics);
      else tail.setTopics(topics);
      tailing = true;
    }
    const status = await get("api/status");
    // in the background or asleep: a line through it would draw an hour as if it were seconds
    if (performance.now() - shownAt > HOLE_MS) showNothing();
    shownAt = performance.now();
    showService(status);
    showPipelines(status);
    notice(null);
  } catch (error) {
    if (error instanceof UnauthorizedError) {
      tailing = false;
      showNothing();
      await askForToken();
    } else {
      showNothing();
      notice(`No figures from the server: ${error.name === "TimeoutError" ? "it does not answer" : error.message}. Trying again.`);
    }
  }
  setTimeout(poll, POLL_MS);
}

/** Only the phase is read out: the rest changes every second. */
function showService(status) {
  const phase = status.phase ?? "unknown";
  setText(byId("phase"), status.reason ? `${phase}: ${status.reason}` : phase);
  const facts = [""];
  if (status.uptime_s !== undefined) facts.push(`up ${seconds(status.uptime_s)}`);
  if (status.dashboards) facts.push(`${status.dashboards} watching`);
  if (status.version) facts.push(status.version);
  setText(byId("facts"), facts.join(" · "));
}

function notice(text) {
  const element = byId("notice");
  element.hidden = text === null;
  if (text !== null) setText(element, text);
}

/** Wait until the user has given a token. */
function askForToken() {
  const dialog = byId("token-dialog");
  const problem = byId("token-problem");
  problem.hidden = token === null;
  setText(problem, "That token is not valid, or no longer.");
  byId("token-button").hidden = false;
  asking = true;
  notice("This server needs a token.");
  return new Promise((resolve) => {
    byId("token-form").onsubmit = () => {
      asking = false;
      token = byId("token").value.trim();
      byId("token").value = "";
      kept?.setItem(TOKEN, token);
      resolve();
    };
    if (!dialog.open) dialog.showModal();
  });
}

byId("token-button").addEventListener("click", () => {
  if (asking) return byId("token-dialog").showModal(); // it was closed without a token
  tailing = false;
  token = null;
  kept?.removeItem(TOKEN);
});

poll();
