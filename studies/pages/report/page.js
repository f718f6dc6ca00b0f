"use strict";
// Everything shown stands in #data: cells (index → what each source says), runs by id, environments, commands.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const root = document.documentElement;
let profile = $("input[name=profile]:checked")?.value;

// A tiny element builder: text is always text, never markup.
function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) name in node ? (node[name] = value) : node.setAttribute(name, value);
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}
const percent = (value, digits = 1) => (value === null || value === undefined ? "" : (100 * value).toFixed(digits));
const interval = (low, high) => (low === null || low === undefined ? "" : `${percent(low)} to ${percent(high)}`);
const signed = (points) => (points > 0 ? "+" : "") + points.toFixed(1);
const duration = (s) => (s >= 5400 ? `${(s / 3600).toFixed(1)} h` : s >= 90 ? `${(s / 60).toFixed(1)} min` : `${s.toFixed(1)} s`);
const number = (value) => (typeof value === "number" ? value.toLocaleString("en") : value);
const SIGN = { above: "▲", below: "▼", inside: "≈" };

function ours(cell, name = profile) { return { runs: [], seeds_done: 0, ...(cell.ours[name] ?? { state: "not in this profile" }) }; }
const protocol = (name) => `${name}: ${data.protocols[name]}`;

// Where our interval lies against the paper's number; "" without both.
function relation(cell) {
  const mine = ours(cell);
  // Without an interval, or with another model or fewer rows, there is nothing to set against the paper's number.
  if (!mine.compared || mine.low === null || mine.low === undefined) return "";
  const low = mine.low, high = mine.high;
  return low > cell.paper ? "above" : high < cell.paper ? "below" : "inside";
}

function fill(button) {
  const cell = data.cells[button.dataset.cell], mine = ours(cell), side = relation(cell);
  const released = cell.released === null ? null : data.cells[cell.released];
  const measured = mine.value !== null && mine.value !== undefined;
  button.className = "cell " + [side, mine.state === "failed" ? "failed" : ""].join(" ");
  const several = button.parentElement.childElementCount > 1;
  const parts = [el("span", { className: "p" }, several ? el("small", {}, `${cell.metric} `) : "", cell.paper_text)];
  if (cell.shape !== "paper only") {
    const third = released ? ours(released).value : null;
    parts.push(el("span", { className: "r" }, percent(third)));
    const short = { pending: "…", failed: "✕ failed", "not yet": "not yet", "not in this profile": "–" }[mine.state] ?? mine.state;
    parts.push(measured ? el("span", { className: "o" }, `${percent(mine.value)} ${SIGN[side] || ""}`.trim(), mine.partial || mine.dirty ? el("small", {}, (mine.partial ? " ◔" : "") + (mine.dirty ? " †" : "")) : "") : el("span", { className: "o state" }, short));
  }
  button.replaceChildren(...parts);
  const spoken = [`${cell.row}, ${cell.column}, ${cell.metric}`, `paper ${cell.paper_text || "prints none"}`];
  if (mine.partial) spoken.push("not all runs are done");
  if (mine.dirty) spoken.push("from uncommitted code");
  spoken.push(measured ? `ours ${percent(mine.value)}, ${side ? side + " the paper" + (side === "inside" ? "’s interval" : "") : "not set against the paper"}` : `ours: ${cell.shape === "paper only" ? "paper only" : mine.state}`);
  button.setAttribute("aria-label", spoken.join("; "));
  button.title = spoken.slice(1).join("; ");
}

function matchesState(cell, wanted) {
  const mine = ours(cell), side = relation(cell);
  if (!wanted) return true;
  if (wanted === "outside") return side === "above" || side === "below";
  if (wanted === "measured") return mine.value !== null && mine.value !== undefined;
  return wanted === "inside" ? side === "inside" : mine.state === wanted;
}

function refresh() {
  for (const node of $$("[data-profile]")) node.hidden = node.dataset.profile !== profile;
  $$(".cell").forEach(fill);
  apply();
}

// Filter: words must all occur; rows without a match go, cells of another state fade.
function apply() {
  const words = $("#filter").value.toLowerCase().split(/\s+/).filter(Boolean), wanted = $("#state").value;
  const has = (text) => words.every((word) => text.toLowerCase().includes(word));
  let cells = 0, claims = 0;
  for (const node of $$(".claim[data-text], .decision")) { node.hidden = !has(node.dataset.text); claims += node.matches(".claim") && !node.hidden; }
  for (const row of $$(".study tbody tr")) {
    const whole = has(row.firstElementChild.textContent + " " + row.closest("section").id);
    let shown = 0;
    for (const button of $$(".cell", row)) {
      const cell = data.cells[button.dataset.cell];
      const good = (whole || has(`${cell.row} ${cell.column} ${cell.study}`)) && matchesState(cell, wanted);
      button.classList.toggle("faded", !good); shown += good;
    }
    row.hidden = shown === 0 && (words.length > 0 || wanted !== ""); cells += shown;
  }
  $("#count").textContent = words.length || wanted ? `${cells} cells and ${claims} claims match` : "";
}

function sort(button) {
  const table = button.closest("table"), head = button.closest("th"), column = Number(button.dataset.sort);
  const next = { none: "descending", descending: "ascending", ascending: "none" }[head.getAttribute("aria-sort")];
  $$("th[aria-sort]", table).forEach((th) => th.setAttribute("aria-sort", "none"));
  head.setAttribute("aria-sort", next);
  const body = table.tBodies[0], rows = [...body.rows];
  rows.forEach((row, i) => (row.dataset.order ??= i));
  const value = (row) => {
    if (next === "none") return -Number(row.dataset.order);
    if (column < 0) return row.cells[0].textContent;
    const first = $(".cell", row.cells[column + 1]), cell = first && data.cells[first.dataset.cell];
    return cell ? ours(cell).value ?? cell.paper ?? -1 : -1;
  };
  const direction = next === "ascending" ? 1 : -1;
  rows.sort((a, b) => { const x = value(a), y = value(b); return direction * (typeof x === "string" ? x.localeCompare(y) : x - y); });
  body.append(...rows);
}

function list(pairs) {
  return el("dl", {}, pairs.filter(([, text]) => text !== "" && text !== null && text !== undefined).map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, text))));
}

function grid(head, rows) {
  return el("div", { className: "scroll", tabIndex: 0 }, el("table", { className: "runs" },
    el("thead", {}, el("tr", {}, head.map((text) => el("th", { scope: "col" }, text)))),
    el("tbody", {}, rows.map(({ cells, chosen }) => el("tr", { className: chosen ? "chosen" : "" }, cells.map((text, i) => el(i ? "td" : "th", i ? {} : { scope: "row" }, text)))))));
}

function commandBox(text) {
  const copy = el("button", { type: "button", className: "copy" }, "Copy");
  copy.onclick = () => navigator.clipboard?.writeText(text).then(() => (copy.textContent = "Copied"), () => (copy.textContent = "Select it by hand"));
  return el("div", { className: "command" }, el("code", {}, text), copy);
}

function runsPart(cell, mine) {
  const runs = mine.runs.map((id) => data.runs[id]).filter(Boolean);
  if (!runs.length) return [];
  const names = Object.keys(runs[0].searched), parts = [];
  const rows = runs.map((run) => {
    const score = run.scores[cell.score], held = cell.select && run.scores[cell.select];
    return { chosen: mine.picked?.includes(run.id), cells: [el("code", {}, run.id), String(run.seed), ...names.map((name) => String(run.searched[name] ?? "")),
      score ? percent(score[0], 2) : "absent", score ? interval(score[1], score[2]) : "", held ? percent(held[0], 2) : "", duration(run.seconds), run.device,
      el("span", run.dirty ? { className: "dirty", title: "the working tree had uncommitted changes" } : {}, `${run.commit}${run.dirty ? " (dirty)" : ""}`)] };
  });
  parts.push(el("h3", {}, `Runs (${runs.length})`), grid(["run", "seed", ...names, "score", "95 % over items", "held-out", "time", "device", "commit"], rows));
  const picked = runs.filter((run) => mine.picked?.includes(run.id)).map((run) => run.scores[cell.score]?.[0]).filter((value) => value !== undefined).sort((a, b) => a - b);
  const middle = picked.length ? (picked[(picked.length - 1) >> 1] + picked[picked.length >> 1]) / 2 : 0;
  parts.push(el("h3", {}, "Selection"), list([["searched", mine.search], ["protocol", protocol(data.protocol)],
    ["chosen point", picked.length ? `min ${percent(picked[0], 2)}, median ${percent(middle, 2)}, mean ${percent(picked.reduce((a, b) => a + b) / picked.length, 2)}, max ${percent(picked.at(-1), 2)}, seeds ${picked.length}` : ""],
    ...Object.entries(mine.others ?? {}).map(([name, value]) => [`by protocol ${name}`, `${percent(value, 2)} (${data.protocols[name]})`])]));
  const origins = [...new Set(runs.map((run) => run.parent).filter(Boolean))];
  if (origins.length) parts.push(el("h3", {}, "Pre-finetuned in"), ...origins.map((id) => { const up = data.runs[id]; return list([["run", el("code", {}, id)], ["seed", up && String(up.seed)], ["datasets", up && number(up.datasets)], ["updates", up && number(up.updates)], ["time", up && duration(up.seconds)], ["device", up && up.device], ["commit", up && up.commit + (up.dirty ? " (dirty)" : "")]]); }));
  const rowsOf = new Map(runs.flatMap((run) => Object.entries(run.data).map(([name, facts]) => [name + JSON.stringify(facts), { cells: [name, number(facts.rows), number(facts.examples ?? ""), facts.found ?? "", el("code", {}, (facts.fingerprint ?? "").slice(0, 16)), facts.dropped ?? ""] }])));
  parts.push(el("h3", {}, "Data"), grid(["task/split", "rows", "used", "found", "fingerprint", "dropped"], [...rowsOf.values()]));
  const places = [...new Set(runs.map((run) => run.environment))].map((i) => data.environments[i]);
  parts.push(el("h3", {}, "Cost and environment"));
  parts.push(list([["time, all runs", duration(runs.reduce((sum, run) => sum + run.seconds, 0))], ["tokens, all runs", number(runs.reduce((sum, run) => sum + (run.tokens ?? 0), 0)) || ""]]));
  for (const place of places) parts.push(list(Object.entries(place)));
  return parts;
}

// A cell's link: #profile/study/row/column/metric.
const address = (cell) => "#" + [profile, cell.study, cell.row, cell.column, cell.metric].map(encodeURIComponent).join("/");
function follow() {
  const [name, ...place] = location.hash.slice(1).split("/").map(decodeURIComponent);
  const index = data.cells.findIndex((cell) => [cell.study, cell.row, cell.column, cell.metric].join("/") === place.join("/"));
  const choice = $$("input[name=profile]").find((input) => input.value === name);
  if (index < 0 || !choice) return;
  choice.checked = true; profile = name; refresh();
  open(index, $(`.cell[data-cell="${index}"]`));
}

function open(index, opener) {
  const cell = data.cells[index], mine = ours(cell), side = relation(cell);
  const released = cell.released === null ? null : ours(data.cells[cell.released]);
  $("#panel-h").textContent = `${cell.row} · ${cell.column} · ${cell.metric}`;
  const measured = mine.value !== null && mine.value !== undefined;
  const control = cell.base === null || cell.base === undefined ? "" : ours(data.cells[cell.base]).machine;
  const facts = [
    ["paper", cell.paper_text ? `${cell.paper_text}${cell.paper_where ? ` (${cell.paper_where})` : ""}` : "prints none"],
    ...cell.others.map((other) => [other.source, other.text]),
    ["released checkpoint", released ? el("button", { type: "button", className: "plain", onclick: () => open(cell.released, opener) }, released.value == null ? released.state : `${percent(released.value, 2)}, its runs`) : ""],
    [`ours (${profile})`, measured ? `${percent(mine.value, 2)}${side ? ` ${SIGN[side]} ${side === "inside" ? "the paper’s number is inside the interval" : "outside: the paper’s number is not in the interval"}` : ""}` : mine.state + (mine.why ? `: ${mine.why}` : "")],
    ["difference", measured && mine.compared ? `${signed(100 * (mine.value - cell.paper))} points` : ""],
    ["95 % over runs and items", measured ? interval(mine.low, mine.high) : ""],
    ["scores of the runs", (mine.scores ?? []).map((score) => percent(score)).join(", ")],
    ["without learning", percent(mine.trivial)],
    ["n", measured ? number(mine.n) : ""], ["computed in", mine.machine && mine.machine + (control && control !== mine.machine ? `; its base in ${control}` : "")], ["code", mine.dirty ? "† a run was done with uncommitted changes" : ""], ["runs", measured ? `${mine.runs.length} of ${mine.declared}` : ""], ["seeds", mine.seeds_total ? `${mine.seeds_done} of ${mine.seeds_total}` : ""],
  ];
  const body = [list(facts)];
  for (const line of mine.failures ?? []) body.push(el("p", { className: "notice" }, line));
  const command = `make ${cell.study} ONLY='${cell.row}/${cell.column}' PROFILE=${profile}`;
  const done = (mine.picked ?? mine.runs)[0];  // a repeat lies beside the result and is compared with it
  if (cell.shape !== "paper only") body.push(commandBox(done ? `make again PROFILE=${profile} RUN=${done}` : command), ...runsPart(cell, mine));
  if (!mine.runs.length && cell.shape !== "paper only") body.push(list([["runs declared", mine.declared ?? ""], ["searched", mine.search]]));
  $("#panel-body").replaceChildren(...body);
  const panel = $("#panel");
  history.replaceState(null, "", address(cell));
  panel.onclose = () => { history.replaceState(null, "", location.pathname + location.search); opener?.focus(); };
  if (!panel.open) panel.showModal();
  panel.scrollTop = 0;
}

function points(name) {
  const rows = data.cells.map((cell, i) => [cell, i]).filter(([cell]) => cell.study === name);
  $("#panel-h").textContent = `${data.titles[name]} (${profile})`;
  const button = (cell, i) => el("button", { type: "button", className: "plain", onclick: () => open(i, null) }, `${cell.row}, ${cell.column}`);
  $("#panel-body").replaceChildren(commandBox(`make ${name} PROFILE=${profile}`), grid(["point", "metric", "ours", "95 %", "seeds"], rows.map(([cell, i]) => {
    const mine = ours(cell);
    return { cells: [button(cell, i), cell.metric, mine.value == null ? mine.state : percent(mine.value, 2), interval(mine.low, mine.high), mine.seeds_total ? `${mine.seeds_done} of ${mine.seeds_total}` : ""] };
  })));
  $("#panel").showModal();
}

document.addEventListener("click", (event) => {
  const target = event.target.closest("button");
  if (event.target === $("#panel")) $("#panel").close();
  if (!target) return;
  if (target.dataset.cell) open(Number(target.dataset.cell), target);
  else if (target.dataset.sort) sort(target);
  else if (target.dataset.fold) target.setAttribute("aria-expanded", String(!$("#" + target.dataset.fold).classList.toggle("folded")));
  else if (target.dataset.points) points(target.dataset.points);
  else if (target.id === "close") $("#panel").close();
  else if (target.id === "theme") {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.theme = root.dataset.theme; } catch { /* a page from a file may have no storage */ }
  }
});
// Arrow keys walk the cells of a table.
document.addEventListener("keydown", (event) => {
  const here = event.target.closest?.(".study td"), step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  if (!here || !step) return;
  const rows = [...here.closest("tbody").rows].filter((row) => !row.hidden);
  const next = $(".cell", rows[rows.indexOf(here.parentElement) + step[0]]?.cells[here.cellIndex + step[1]] ?? document.createElement("i"));
  if (next) { event.preventDefault(); next.focus(); }
});
$$("input[name=profile]").forEach((input) => input.addEventListener("change", () => { profile = input.value; refresh(); }));
$("#filter").addEventListener("input", apply);
$("#state").addEventListener("change", apply);
try { if (localStorage.theme) root.dataset.theme = localStorage.theme; } catch { /* as above */ }
addEventListener("hashchange", follow);
refresh();
follow();
