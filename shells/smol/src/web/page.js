// The page: chats over /api/chat, lists and fetches models, draws what /api/status tells.
"use strict";

const $ = id => document.getElementById(id);
const make = (tag, text, kind) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (kind) node.className = kind;
  return node;
};

// ---- asking the server

async function ask(path, body, options = {}) {
  const headers = {};
  const key = sessionStorage.getItem("key");
  if (key) headers.authorization = "Bearer " + key;
  if (body !== undefined) headers["content-type"] = "application/json";
  const answer = await fetch(path, {
    method: options.method || (body === undefined ? "GET" : "POST"),
    headers, body: body === undefined ? undefined : JSON.stringify(body), signal: options.signal,
  });
  if (answer.status === 401) $("key-form").hidden = false;
  if (!answer.ok) {
    const text = await answer.text();
    let said = text;
    try { const value = JSON.parse(text); said = value.error?.message || value.error || text; } catch { /* plain text */ }
    throw new Error(said || "the server answered " + answer.status);
  }
  return answer;
}

const get = async path => (await ask(path)).json();

// Each line of a stream is a JSON value.
async function lines(answer, take) {
  const reader = answer.body.getReader(), decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    rest += done ? decoder.decode() : decoder.decode(value, { stream: true });
    const parts = rest.split("\n");
    rest = parts.pop();
    for (const part of parts) if (part.trim()) take(JSON.parse(part));
    if (done) return;
  }
}

$("key-form").addEventListener("submit", event => {
  event.preventDefault();
  sessionStorage.setItem("key", $("key").value.trim());
  $("key-form").hidden = true;
  models();
});

// ---- text with marks, as nodes: nothing that a model writes is ever read as HTML

const MARKS = /(`+)([\s\S]+?)\1|\*\*([\s\S]+?)\*\*|__([\s\S]+?)__|\*([^\s*](?:[^*]*[^\s*])?)\*|\[([^\]]+)\]\(([^)\s]+)\)/;

function inline(into, text) {
  for (;;) {
    const found = MARKS.exec(text);
    if (!found) { if (text) into.append(text); return; }
    into.append(text.slice(0, found.index));
    const [all, , code, bold, strong, soft, label, link] = found;
    if (code !== undefined) into.append(make("code", code));
    else if (label !== undefined) into.append(anchor(label, link));
    else {
      const node = make(soft === undefined ? "strong" : "em");
      inline(node, bold ?? strong ?? soft);
      into.append(node);
    }
    text = text.slice(found.index + all.length);
  }
}

function anchor(label, link) {
  // Other schemes than these could run something.
  if (!/^(https?:|mailto:)/i.test(link)) return document.createTextNode(label + " (" + link + ")");
  const node = make("a", label);
  node.href = link;
  node.rel = "noopener noreferrer";
  node.target = "_blank";
  return node;
}

function markdown(into, text) {
  into.replaceChildren();
  const rows = text.split("\n");
  let at = 0, plain = [];
  const flush = () => {
    if (plain.length) { const p = make("p"); plain.forEach((row, i) => { if (i) p.append(make("br")); inline(p, row); }); into.append(p); }
    plain = [];
  };
  while (at < rows.length) {
    const row = rows[at];
    const fence = /^\s*(```+|~~~+)\s*(\S*)/.exec(row);
    const title = /^(#{1,6})\s+(.*)/.exec(row);
    const item = /^\s*([-*+]|\d{1,9}[.)])\s+(.*)/.exec(row);
    if (fence) {
      flush();
      const code = [];
      for (at += 1; at < rows.length && !rows[at].trim().startsWith(fence[1]); at += 1) code.push(rows[at]);
      const pre = make("pre");
      pre.tabIndex = 0;
      pre.append(make("code", code.join("\n")));
      into.append(pre);
    } else if (title) {
      flush();
      const node = make("h" + Math.min(5, title[1].length + 2));
      inline(node, title[2]);
      into.append(node);
    } else if (item) {
      flush();
      const ordered = /\d/.test(item[1]), list = make(ordered ? "ol" : "ul");
      if (ordered) list.start = parseInt(item[1], 10);
      for (let next = item; next && /\d/.test(next[1]) === ordered; next = /^\s*([-*+]|\d{1,9}[.)])\s+(.*)/.exec(rows[at] ?? "")) {
        const li = make("li");
        inline(li, next[2]);
        list.append(li);
        at += 1;
      }
      into.append(list);
      continue;
    } else if (/^\s*>/.test(row)) {
      flush();
      const quote = make("blockquote");
      inline(quote, row.replace(/^\s*>\s?/, ""));
      into.append(quote);
    } else if (!row.trim()) flush();
    else plain.push(row);
    at += 1;
  }
  flush();
}

// ---- chat

let messages = [], running = null;

function turn(kind) {
  $("hint").hidden = true;
  const node = make("div", undefined, "turn " + kind);
  node.setAttribute("aria-label", kind === "user" ? "You" : "Answer");
  node.setAttribute("role", "article");
  $("talk").append(node);
  return node;
}

function follow() {
  const talk = $("talk");
  // Who reads further up is left there.
  if (talk.scrollHeight - talk.scrollTop - talk.clientHeight < 120) talk.scrollTop = talk.scrollHeight;
}

function busy(is) {
  $("send").hidden = is;
  $("stop").hidden = !is;
  $("model").disabled = is;
}

async function send(text) {
  const mine = turn("user");
  mine.textContent = text;
  messages.push({ role: "user", content: text });
  const node = turn("assistant writing"), body = make("div"), thoughts = make("details");
  thoughts.append(make("summary", "Thoughts"), make("span"));
  // Spoken once, when it is whole: word by word nobody could follow.
  node.setAttribute("aria-busy", "true");
  node.append(body);
  $("talk").scrollTop = $("talk").scrollHeight;
  let said = "", thought = "", drawn = 0, waiting = false;
  const draw = () => { waiting = false; drawn = performance.now(); markdown(body, said); follow(); };
  const soon = () => { if (!waiting) { waiting = true; setTimeout(draw, Math.max(0, 60 - (performance.now() - drawn))); } };
  running = new AbortController();
  busy(true);
  const start = performance.now();
  let first = 0, pieces = 0;
  try {
    const answer = await ask("/api/chat", { model: $("model").value, messages }, { signal: running.signal });
    await lines(answer, value => {
      if (value.error) throw new Error(value.error);
      const message = value.message || {};
      if (message.content || message.thinking) { first ||= performance.now(); pieces += 1; }
      if (message.thinking) {
        if (!thought) node.prepend(thoughts);
        thought += message.thinking;
        thoughts.lastChild.textContent = thought;
      }
      if (message.content) { said += message.content; soon(); }
      if (pieces > 1) speed(first - start, (pieces - 1) / (performance.now() - first) * 1000, pieces);
      if (value.done && value.eval_duration) speed(first - start, value.eval_count / value.eval_duration * 1e9, value.eval_count);
    });
  } catch (error) {
    if (error.name !== "AbortError") { node.classList.add("error"); said += (said ? "\n\n" : "") + error.message; }
  }
  draw();
  node.classList.remove("writing");
  node.removeAttribute("aria-busy");
  if (said && !node.classList.contains("error")) messages.push({ role: "assistant", content: said });
  running = null;
  busy(false);
  $("prompt").focus();
}

function speed(wait, rate, count) {
  $("speed").textContent = `first token after ${Math.round(wait)} ms · ${rate.toFixed(1)} tokens a second · ${count} tokens`;
}

$("ask").addEventListener("submit", event => {
  event.preventDefault();
  const text = $("prompt").value.trim();
  if (!text || running || !$("model").value) return;
  $("prompt").value = "";
  send(text);
});
$("prompt").addEventListener("keydown", event => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); $("ask").requestSubmit(); }
});
$("stop").addEventListener("click", () => running?.abort());
document.addEventListener("keydown", event => { if (event.key === "Escape") running?.abort(); });
$("clear").addEventListener("click", () => {
  running?.abort();
  messages = [];
  $("talk").querySelectorAll(".turn").forEach(node => node.remove());
  $("hint").hidden = false;
  $("speed").textContent = "";
  $("prompt").focus();
});

// ---- models

const size = bytes => {
  for (const [unit, most] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) if (bytes >= most) return (bytes / most).toFixed(1) + " " + unit;
  return bytes + " B";
};
const span = seconds => seconds < 90 ? Math.round(seconds) + " s" : seconds < 5400 ? Math.round(seconds / 60) + " min" : seconds < 172800 ? Math.round(seconds / 3600) + " h" : Math.round(seconds / 86400) + " days";

function row(cells, buttons, none) {
  const tr = make("tr");
  if (none) { const td = make("td", none, "none"); td.colSpan = 6; tr.append(td); return tr; }
  cells.forEach(text => tr.append(make("td", text)));
  const td = make("td");
  buttons.forEach(([text, label, act]) => {
    const button = make("button", text);
    button.type = "button";
    button.setAttribute("aria-label", label);
    button.addEventListener("click", act);
    td.append(button);
  });
  tr.append(td);
  return tr;
}

async function models() {
  const { models: list } = await get("/api/tags");
  const chosen = $("model").value || sessionStorage.getItem("model");
  const talkers = list.filter(model => model.capabilities.includes("completion"));
  $("model").replaceChildren(...talkers.map(model => { const option = make("option", model.name); option.value = model.name; return option; }));
  if (talkers.some(model => model.name === chosen)) $("model").value = chosen;
  $("send").disabled = !talkers.length;
  $("hint").textContent = talkers.length ? "Ask something. Everything is computed on this machine." : "There is no model here that answers. Fetch one under Models.";
  $("installed").replaceChildren(...list.map(model => row(
    [model.name, size(model.size), model.details.parameter_size, model.details.quantization_level, new Date(model.modified_at).toLocaleDateString()],
    [["Delete", "Delete " + model.name, () => remove(model.name)]])));
  if (!list.length) $("installed").append(row([], [], "No model is here yet."));
}

$("model").addEventListener("change", () => sessionStorage.setItem("model", $("model").value));

async function remove(name) {
  if (!confirm(`Delete ${name} from this machine?`)) return;
  try { await ask("/api/delete", { model: name }, { method: "DELETE" }); } catch (error) { alert(error.message); }
  models().catch(failed);
}

async function unload(name) {
  await ask("/api/generate", { model: name, keep_alive: 0 }).catch(error => alert(error.message));
}

$("pull").addEventListener("submit", async event => {
  event.preventDefault();
  const name = $("pull-name").value.trim();
  if (!name) return;
  const box = make("div"), text = make("span", name + ": begins"), bar = make("progress");
  bar.setAttribute("aria-label", "Fetching " + name);
  bar.max = 1;
  bar.value = 0;
  box.append(text, bar);
  $("pulls").append(box);
  $("pull-name").value = "";
  const blobs = new Map();
  try {
    await lines(await ask("/api/pull", { model: name }), value => {
      if (value.error) throw new Error(value.error);
      if (value.total) blobs.set(value.digest, value);
      let done = 0, total = 0;
      blobs.forEach(blob => { done += blob.completed || 0; total += blob.total; });
      text.textContent = name + ": " + value.status + (total ? `, ${size(done)} of ${size(total)}` : "");
      if (total) bar.value = done / total;
    });
    text.textContent = name + " is here";
    bar.remove();
  } catch (error) { text.textContent = name + ": " + error.message; bar.remove(); }
  models().catch(failed);
});

// ---- what goes on

const KEPT = 120, series = { tokens: [], first: [], gap: [], active: [] };
let last = null;

// Numbers over time, the newest at the right; null where there was nothing to measure.
function chart(name, values, unit) {
  const svg = $("c-" + name), width = 300, height = 96, top = 8;
  const most = Math.max(...values.map(value => value ?? 0), 1e-9);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  const shape = (tag, kind, marks) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    node.setAttribute("class", kind);
    Object.entries(marks).forEach(([key, value]) => node.setAttribute(key, value));
    return node;
  };
  const x = i => width - (values.length - 1 - i) * width / (KEPT - 1);
  const y = value => height - 1 - value / most * (height - top - 1);
  const points = values.map((value, i) => [x(i), value]).filter(([, value]) => value !== null).map(([at, value]) => `${at.toFixed(1)},${y(value).toFixed(1)}`);
  const shapes = [0.5, 1].map(part => shape("line", "grid", { x1: 0, x2: width, y1: y(most * part), y2: y(most * part) }));
  shapes.push(shape("line", "grid", { x1: 0, x2: width, y1: height - 1, y2: height - 1 }));
  if (points.length) {
    const [from, to] = [points[0].split(",")[0], points.at(-1).split(",")[0]];
    shapes.push(shape("polygon", "area", { points: `${from},${height} ${points.join(" ")} ${to},${height}` }));
    shapes.push(shape("polyline", "curve", { points: points.join(" ") }));
  }
  svg.replaceChildren(...shapes);
  svg.setAttribute("aria-label", `${svg.dataset.label ||= svg.getAttribute("aria-label")}: at most ${unit(most)}`);
}

const whole = value => String(Math.round(value));
const time = seconds => seconds >= 1 ? seconds.toFixed(2) + " s" : (seconds * 1000).toFixed(1) + " ms";

function push(name, value, unit) {
  series[name].push(value);
  if (series[name].length > KEPT) series[name].shift();
  if (value !== null) $("n-" + name).textContent = unit(value);
  chart(name, series[name], unit);
}

function watch(now, status) {
  if (last) {
    const seconds = (now - last.now) / 1000, before = last.status;
    const mean = name => {
      const count = status[name].count - before[name].count;
      return count > 0 ? (status[name].sum - before[name].sum) / count : null;
    };
    push("tokens", Math.max(0, status.tokens.generated - before.tokens.generated) / seconds, value => value.toFixed(1));
    push("first", mean("first_token_seconds"), time);
    push("gap", mean("inter_token_seconds"), time);
    push("active", status.answers.active, whole);
  }
  last = { now, status };
  const part = status.tokens.prompt ? Math.round(100 * status.tokens.prompt_cached / status.tokens.prompt) + " %" : "–";
  const facts = [["Runs for", span(status.uptime_seconds)], ["Memory", status.memory_bytes ? size(status.memory_bytes) : "–"],
    ["Answers", status.answers.completed], ["Tokens written", status.tokens.generated], ["Tokens read", status.tokens.prompt],
    ["Read from memory", part], ["First token, p99", status.first_token_seconds.p99 === null ? "–" : time(status.first_token_seconds.p99)],
    ["Refused", status.answers.refused]];
  $("facts").replaceChildren(...facts.map(([name, value]) => { const div = make("div"); div.append(make("dt", name), make("dd", value)); return div; }));
  $("version").textContent = status.version;
  const stays = model => model.running ? "in use" : model.expires_in_seconds === null ? "always" : span(model.expires_in_seconds);
  const loaded = status.models.map(model => row(
    [model.name, size(model.memory_bytes), model.context_length, model.open ? model.waiting ? `${model.running}, ${model.waiting} wait` : model.running : "is opened", stays(model)],
    [["Unload", "Unload " + model.name, () => unload(model.name)]]));
  if (!$("loaded").contains(document.activeElement)) $("loaded").replaceChildren(...(loaded.length ? loaded : [row([], [], "No model is in memory.")]));
  health(status.health);
}

function health(report) {
  $("well").querySelector(".dot").className = "dot " + (report.ok ? "ok" : "failed");
  say(report.ok ? "All is well" : "Not well: see Watch");
  $("checks").replaceChildren(...report.checks.map(check => {
    const li = make("li");
    li.append(make("span", undefined, "dot " + check.state), make("b", check.name), check.detail || check.state);
    if (check.todo) li.append(make("div", check.todo, "todo"));
    return li;
  }));
}

// Only what changed is spoken.
function say(text) { if ($("well-text").textContent !== text) $("well-text").textContent = text; }

function failed(error) {
  $("well").querySelector(".dot").className = "dot failed";
  say(error instanceof TypeError ? "The server does not answer" : error.message);
}

async function beat() {
  try { watch(performance.now(), await get("/api/status")); } catch (error) { failed(error); }
  setTimeout(beat, document.hidden ? 5000 : 1000);
}

// ---- parts of the page

const tabs = [...document.querySelectorAll("[role=tab]")];
function show(tab) {
  tabs.forEach(one => {
    const is = one === tab;
    one.setAttribute("aria-selected", is);
    one.tabIndex = is ? 0 : -1;
    $(one.getAttribute("aria-controls")).hidden = !is;
  });
  if (tab.id === "tab-models") models().catch(failed);
}
tabs.forEach((tab, i) => {
  tab.addEventListener("click", () => show(tab));
  tab.addEventListener("keydown", event => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(i + step + tabs.length) % tabs.length];
    next.focus();
    show(next);
  });
});

models().catch(failed);
beat();
