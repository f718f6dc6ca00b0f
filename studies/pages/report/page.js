"use strict";
// Everything shown stands in #data: cells (index → what each source says), runs by id, environments, commands.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const root = document.documentElement, panel = $("#panel");
let profile = $("input[name=profile]:checked")?.value;

// A tiny element builder: text is always text, never markup.
function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) name in node ? (node[name] = value) : node.setAttribute(name, value);
  node.append(...children.flat().filter((child) => child != null && child !== ""));
  return node;
}
const percent = (value, digits = 1) => (value == null ? "" : (100 * value).toFixed(digits));
const interval = (low, high) => (low == null ? "" : `${percent(low)} to ${percent(high)}`);
const signed = (points) => (points > 0 ? "+" : "") + points.toFixed(1);
const duration = (s) => (s >= 5400 ? `${(s / 3600).toFixed(1)} h` : s >= 90 ? `${(s / 60).toFixed(1)} min` : `${s.toFixed(1)} s`);
const number = (value) => (typeof value === "number" ? value.toLocaleString("en") : value);
const SIGN = { above: "▲", below: "▼", inside: "≈", "": "" };
const SHORT = { pending: "…", failed: "✕ failed", refused: "✕ refused" };  // of the states without a number; all others: –

const ours = (cell) => ({ runs: [], ...(cell.ours[profile] ?? { state: "not in this profile" }) });

// Where our interval lies against the paper's number; "" without both, or with another model or fewer rows.
function relation(cell) {
  const { compared, low, high } = ours(cell);
  return !compared || low == null ? "" : low > cell.paper ? "above" : high < cell.paper ? "below" : "inside";
}

function fill(button) {
  const cell = data.cells[button.dataset.cell], released = data.cells[cell.released], mine = ours(cell), side = relation(cell);
  button.className = ["cell", side, SHORT[mine.state] ? mine.state : ""].join(" ");
  const several = button.parentElement.childElementCount > 1, measured = mine.value != null;
  const print = measured && !data.comparable.includes(profile) ? "" : cell.paper_text;  // never beside another model's
  const parts = [el("span", { className: print ? "p" : "p bare" }, several ? el("small", {}, `${cell.metric} `) : "", print)];
  if (cell.shape !== "paper only") {
    const marks = (mine.partial ? " ◔" : "") + (mine.dirty ? " †" : "");
    parts.push(el("span", { className: "r" }, released && percent(ours(released).value)));
    parts.push(measured ? el("span", { className: "o" }, `${percent(mine.value)} ${SIGN[side]}`.trim(), marks && el("small", {}, marks)) : el("span", { className: "o state" }, SHORT[mine.state] ?? "–"));
  }
  button.replaceChildren(...parts);
  const spoken = [`${cell.row}, ${cell.column}, ${cell.metric}`, `paper ${cell.paper_text || "prints none"}`];
  if (mine.partial) spoken.push("not all runs are done");
  if (mine.dirty) spoken.push("from uncommitted code");
  spoken.push(measured ? `ours ${percent(mine.value)}, ${side ? side + " the paper" + (side === "inside" ? "’s interval" : "") : "not set against the paper"}` : `ours: ${mine.state}`);
  button.setAttribute("aria-label", spoken.join("; "));
  button.title = spoken.slice(1).join("; ");
}

function matchesState(cell, wanted) {
  const mine = ours(cell), side = relation(cell);
  return !wanted || wanted === (mine.value == null ? mine.state : "measured") || wanted === (side === "inside" ? side : side && "outside");
}

function refresh() {
  for (const node of $$("[data-profile]")) node.hidden = node.dataset.profile !== profile;
  $$(".cell").forEach(fill);
  $$(".study table").forEach(arrange);
  apply();
}

// Filter: words must all occur; rows without a match go, other cells fade. Columns beyond the paper unfold where nothing else matches.
function apply() {
  const words = $("#filter").value.toLowerCase().split(/[\s,]+/).filter(Boolean), wanted = $("#state").value, filtered = words.length > 0 || wanted !== "";
  const has = (text) => words.every((word) => text.toLowerCase().includes(word));
  let cells = 0;
  for (const node of $$(".claim[data-text], .decision")) node.hidden = !has(node.dataset.text);
  for (const study of $$(".study")) {
    const good = $$(".cell", study).filter(({ dataset }) => {
      const cell = data.cells[dataset.cell];
      return has([cell.row, cell.column, cell.metric, cell.study].join(" ")) && matchesState(cell, wanted);
    });
    const own = good.filter((button) => !button.closest(".beyond"));
    study.classList.toggle("found", filtered && good.length > 0 && own.length === 0);
    const folded = study.matches(".folded:not(.found)"), shown = new Set(folded ? own : good);
    $("[data-fold]", study)?.setAttribute("aria-expanded", String(!folded));
    for (const button of $$(".cell", study)) button.classList.toggle("faded", !shown.has(button));
    for (const row of $$("tbody tr", study)) row.hidden = filtered && !$$(".cell", row).some((button) => shown.has(button));
    cells += shown.size;
  }
  const count = (selector) => $$(selector).filter((node) => !node.hidden).length;
  const more = words.length ? `, ${count(".claim[data-text]")} claims and ${count(".decision")} decisions` : "";
  $("#count").textContent = filtered ? `${cells} cells${more} match` : "";
}

function sort(head) {
  const next = { none: "descending", descending: "ascending", ascending: "none" }[head.getAttribute("aria-sort")];
  $$("th", head.parentElement).forEach((th) => th.setAttribute("aria-sort", "none"));
  head.setAttribute("aria-sort", next);
  arrange(head.closest("table"));
}

// Rows by the sorted column: what is measured, then what the paper alone has; else in declared order.
function arrange(table) {
  const head = $("th[aria-sort$=scending]", table), rows = [...table.tBodies[0].rows];
  rows.forEach((row, i) => (row.dataset.order ??= i));
  rows.sort((a, b) => a.dataset.order - b.dataset.order);
  const sign = head?.getAttribute("aria-sort") === "ascending" ? 1 : -1;
  const value = (row) => {
    const cell = data.cells[$(".cell", row.cells[head.cellIndex])?.dataset.cell], own = cell && ours(cell).value;
    return own != null ? [0, own] : cell?.paper != null ? [1, cell.paper] : [2, 0];
  };
  if (head?.cellIndex === 0) rows.sort((a, b) => sign * a.cells[0].textContent.localeCompare(b.cells[0].textContent));
  else if (head) rows.sort((a, b) => { const [i, x] = value(a), [j, y] = value(b); return i - j || sign * (x - y); });
  table.tBodies[0].append(...rows);
}

function list(pairs) {
  return el("dl", {}, pairs.filter(([, text]) => text !== "" && text != null).map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, text))));
}

function grid(head, rows) {
  return el("div", { className: "scroll", tabIndex: 0 }, el("table", { className: "runs" },
    el("thead", {}, el("tr", {}, head.map((text) => el("th", { scope: "col" }, text)))),
    el("tbody", {}, rows.map(({ cells, chosen }) => el("tr", { className: chosen ? "chosen" : "" }, cells.map((text, i) => el(i ? "td" : "th", i ? {} : { scope: "row" }, text)))))));
}

function commandBox(text) {
  const copy = el("button", { type: "button", className: "copy" }, "Copy");
  const write = async () => navigator.clipboard.writeText(text);  // there is no clipboard on a page from some places
  copy.onclick = () => write().then(() => (copy.textContent = "Copied"), () => (copy.textContent = "Select it by hand"));
  return el("div", { className: "command" }, el("code", {}, text), copy);
}

const commit = (run) => run.commit + (run.dirty ? " (dirty)" : "");

function runsPart(cell, mine) {
  const runs = mine.runs.map((id) => data.runs[id]).filter(Boolean);
  if (!runs.length) return [list([["runs declared", mine.declared], ["searched", mine.search]])];
  const names = Object.keys(runs[0].searched), parts = [];
  const rows = runs.map((run) => {
    const score = run.scores[cell.score], held = cell.select && run.scores[cell.select];
    return { chosen: mine.picked?.includes(run.id), cells: [el("code", {}, run.id), String(run.seed), ...names.map((name) => String(run.searched[name] ?? "")),
      score ? percent(score[0], 2) : "absent", score ? interval(score[1], score[2]) : "", held ? percent(held[0], 2) : "", duration(run.seconds), run.device,
      el("span", run.dirty ? { className: "dirty", title: "the working tree had uncommitted changes" } : {}, commit(run))] };
  });
  parts.push(el("h3", {}, `Runs (${runs.length})`), grid(["run", "seed", ...names, "score", "95 % over items", "held-out", "time", "device", "commit"], rows));
  const picked = runs.filter((run) => mine.picked?.includes(run.id)).map((run) => run.scores[cell.score]?.[0]).filter((value) => value !== undefined).sort((a, b) => a - b);
  const middle = picked.length ? (picked[(picked.length - 1) >> 1] + picked[picked.length >> 1]) / 2 : 0;
  parts.push(el("h3", {}, "Selection"), list([["searched", mine.search], ["protocol", `${data.protocol}: ${data.protocols[data.protocol]}`],
    ["chosen point", picked.length ? `min ${percent(picked[0], 2)}, median ${percent(middle, 2)}, mean ${percent(picked.reduce((a, b) => a + b) / picked.length, 2)}, max ${percent(picked.at(-1), 2)}, seeds ${picked.length}` : ""],
    ...Object.entries(mine.others ?? {}).map(([name, value]) => [`by protocol ${name}`, `${percent(value, 2)} (${data.protocols[name]})`])]));
  const origins = [...new Set(runs.map((run) => run.parent))].filter((id) => data.runs[id]);
  if (origins.length) parts.push(el("h3", {}, "Pre-finetuned in"), ...origins.map((id) => { const up = data.runs[id]; return list([["run", el("code", {}, id)], ["seed", String(up.seed)], ["datasets", number(up.datasets)], ["updates", number(up.updates)], ["time", duration(up.seconds)], ["device", up.device], ["commit", commit(up)]]); }));
  const rowsOf = new Map(runs.flatMap((run) => Object.entries(run.data).map(([name, facts]) => [name + JSON.stringify(facts), { cells: [name, number(facts.rows), number(facts.examples ?? ""), facts.found ?? "", el("code", {}, (facts.fingerprint ?? "").slice(0, 16)), facts.dropped ?? ""] }])));
  parts.push(el("h3", {}, "Data"), grid(["task/split", "rows", "used", "found", "fingerprint", "dropped"], [...rowsOf.values()]));
  parts.push(el("h3", {}, "Cost and environment"));
  parts.push(list([["time, all runs", duration(runs.reduce((sum, run) => sum + run.seconds, 0))], ["tokens, all runs", number(runs.reduce((sum, run) => sum + (run.tokens ?? 0), 0)) || ""]]));
  for (const place of new Set(runs.map((run) => run.environment))) parts.push(list(Object.entries(data.environments[place])));
  return parts;
}

function show(title, ...body) {
  $("#panel-h").textContent = title;
  $("#panel-body").replaceChildren(...body);
  if (!panel.open) panel.showModal();  // and gives the focus back when it closes
  panel.scrollTop = 0;
}

// A cell's link: #profile/study/row/column/metric. A claim's or a decision's, #C5, opens it.
const address = (cell) => "#" + [profile, cell.study, cell.row, cell.column, cell.metric].map(encodeURIComponent).join("/");
function follow() {
  const [name, ...place] = location.hash.slice(1).split("/").map(decodeURIComponent);
  const index = data.cells.findIndex((cell) => [cell.study, cell.row, cell.column, cell.metric].join("/") === place.join("/"));
  const choice = $$("input[name=profile]").find((input) => input.value === name), entry = document.getElementById(name);
  if (entry?.matches("details")) { entry.hidden = false; entry.open = true; entry.scrollIntoView(); }
  if (index < 0 || !choice) return;
  choice.checked = true; profile = name; refresh();
  $(`.cell[data-cell="${index}"]`)?.focus();
  open(index);
}

function open(index) {
  const cell = data.cells[index], released = data.cells[cell.released], mine = ours(cell), side = relation(cell), measured = mine.value != null;
  const control = data.cells[cell.base] && ours(data.cells[cell.base]).machine, theirs = released && ours(released);
  const facts = [
    ["paper", cell.paper_text ? `${cell.paper_text}${cell.paper_where ? ` (${cell.paper_where})` : ""}` : "prints none"],
    ...cell.others.map((other) => [other.source, other.text]),
    ["released checkpoint", theirs && el("button", { type: "button", className: "plain", onclick: () => open(cell.released) }, theirs.value == null ? theirs.state : `${percent(theirs.value, 2)}, its runs`)],
    [`ours (${profile})`, measured ? percent(mine.value, 2) + (side ? ` ${SIGN[side]} ${side === "inside" ? "the paper’s number is inside the interval" : "outside: the paper’s number is not in the interval"}` : "") : mine.state],
    ["difference", measured && mine.compared ? `${signed(100 * (mine.value - cell.paper))} points` : ""],
    ["95 % over runs and items", measured ? interval(mine.low, mine.high) : ""],
    ["scores of the runs", (mine.scores ?? []).map((score) => percent(score)).join(", ")],
    ["without learning", percent(mine.trivial)],
    ["n", measured ? number(mine.n) : ""],
    ["computed in", mine.machine && mine.machine + (control && control !== mine.machine ? `; its base in ${control}` : "")],
    ["code", mine.dirty ? "† a run was done with uncommitted changes" : ""],
    ["runs", measured ? `${mine.runs.length} of ${mine.declared}` : ""],
    ["seeds", mine.seeds_total ? `${mine.seeds_done} of ${mine.seeds_total}` : ""],
  ];
  const body = [list(facts), ...(mine.failures ?? []).map((line) => el("p", { className: "notice" }, line))];
  const done = (mine.picked ?? mine.runs)[0];  // a repeat lies beside the result and is compared with it
  const command = done ? `make again PROFILE=${profile} RUN=${done}` : `make ${cell.study} ONLY='${cell.row}/${cell.column}' PROFILE=${profile}`;
  if (mine.declared) body.push(commandBox(command), ...runsPart(cell, mine));
  history.replaceState(null, "", address(cell));
  show(`${cell.row} · ${cell.column} · ${cell.metric}`, ...body);
}

function points(name) {
  const rows = data.cells.map((cell, i) => [cell, i]).filter(([cell]) => cell.study === name);
  const button = (cell, i) => el("button", { type: "button", className: "plain", onclick: () => open(i) }, `${cell.row}, ${cell.column}`);
  show(`${data.titles[name]} (${profile})`, commandBox(`make ${name} PROFILE=${profile}`), grid(["point", "metric", "ours", "95 %", "seeds"], rows.map(([cell, i]) => {
    const mine = ours(cell);
    return { cells: [button(cell, i), cell.metric, mine.value == null ? mine.state : percent(mine.value, 2), interval(mine.low, mine.high), mine.seeds_total ? `${mine.seeds_done} of ${mine.seeds_total}` : ""] };
  })));
}

document.addEventListener("click", (event) => {
  const target = event.target.closest("button");
  if (event.target === panel) panel.close();
  if (!target) return;
  if (target.dataset.cell) open(Number(target.dataset.cell));
  else if ("sort" in target.dataset) sort(target.closest("th"));
  else if ("fold" in target.dataset) { target.closest(".study").classList.toggle("folded"); apply(); }
  else if (target.dataset.points) points(target.dataset.points);
  else if (target.id === "close") panel.close();
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
panel.addEventListener("close", () => history.replaceState(null, "", location.pathname + location.search));
$$("input[name=profile]").forEach((input) => input.addEventListener("change", () => { profile = input.value; refresh(); }));
$("#filter").addEventListener("input", apply);
$("#state").addEventListener("change", apply);
try { if (localStorage.theme) root.dataset.theme = localStorage.theme; } catch { /* as above */ }
addEventListener("hashchange", follow);
refresh();
follow();
