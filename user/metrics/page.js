// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Keeps the page new, and plots the last hour. The figures come as the page itself: each section
// that has changed takes the place of the old one. The plots come from /v1/history; a reader that
// has some points requests only later ones. Names are set as text, never as HTML.
"use strict";

const PAGE_MS = 1000;
const SECTIONS = ["mode", "state", "models", "requests", "clients", "services"];
const $ = (id) => document.getElementById(id);

/* ---- the figures ---- */

function problem(text) {
	$("problem").textContent = text;
	$("problem").hidden = !text;
}

// A text that somebody is selecting stays as it is.
function isSelected(node) {
	const selection = getSelection();
	return selection && !selection.isCollapsed && selection.containsNode(node, true);
}

async function request(url) {
	const answer = await fetch(url, { cache: "no-store", signal: AbortSignal.timeout(8000) });
	if (!answer.ok)
		throw new Error(`sluice answers ${answer.status}`);
	return answer;
}

async function renewFigures() {
	const text = await (await request(location.pathname + location.search)).text();
	const fresh = new DOMParser().parseFromString(text, "text/html");
	for (const id of SECTIONS) {
		const now = fresh.getElementById(id), old = $(id);
		if (now && old && now.innerHTML !== old.innerHTML && !isSelected(old))
			old.replaceWith(document.adoptNode(now));
	}
}

/* ---- the history ---- */

const PLOTS = [
	{ title: "TTFT, ms", lines: [["average", "ttft_ms", 0], ["target", "ttft_target_ms", 1]] },
	{ title: "ITL, ms", lines: [["average", "itl_ms", 0], ["target", "itl_target_ms", 1]] },
	{ title: "requests in flight", lines: [["in flight", "in_flight", 0], ["limit", "limit", 1]] },
	{ title: "requests a second", lines: [["admitted", "admitted_per_second", 2]], refused: true },
	{ title: "admitted a second, by class", classes: "admitted_by_class_per_second" },
	{ title: "refused a second, by class", classes: "rejected_by_class_per_second" },
];
// Columns that are objects of columns: what has none in an answer was 0 all that time.
const PARTS = [
	"rejected_by_reason_per_second", "admitted_by_class_per_second", "rejected_by_class_per_second",
];
const CLASSES = [["high", 3], ["normal", 0], ["low", 4], ["lowest", 2]];

const unseen = () => ({ unix_ms: [], ...Object.fromEntries(PARTS.map((key) => [key, {}])) });
let seen = unseen();
let charts = [], plots = []; // chart i draws plot i
let chosen = "";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// In UTC, as the sentences have it.
function clock(ms) {
	return new Date(ms).toISOString().slice(11, 19);
}

// Whole minutes, few enough to be read.
function ticks(axis) {
	const step = 60000 * [1, 2, 5, 10, 15].find((m) => m * 240000 >= axis.max - axis.min || m === 15);
	axis.ticks = [];
	for (let at = Math.ceil(axis.min / step) * step; at <= axis.max; at += step)
		axis.ticks.push({ value: at });
}

// Adds the new points, and drops those that are older than the daemon keeps.
function join(old, fresh) {
	const skip = Math.max(0, old.unix_ms.length + fresh.unix_ms.length - fresh.points_max);
	const add = (a, b, n) => (a || Array(n).fill(null)).concat(b).slice(skip);
	const all = { ...fresh };
	const none = Array(fresh.unix_ms.length).fill(0);
	for (const key of Object.keys(fresh))
		if (Array.isArray(fresh[key]) && key !== "models")
			all[key] = add(old[key], fresh[key], old.unix_ms.length);
	for (const key of PARTS) {
		const before = old[key], now = fresh[key] || {};
		all[key] = {};
		for (const part of new Set([...Object.keys(before), ...Object.keys(now)]))
			all[key][part] = add(before[part], now[part] || none, old.unix_ms.length);
	}
	return all;
}

// Those that have something to show: there are no plots by class while all requests are normal.
function wanted() {
	const of = (key) => Object.keys(seen[key]);
	const other = [...of(PARTS[1]), ...of(PARTS[2])].some((name) => name !== "normal");
	return PLOTS.filter((plot) => !plot.classes || other);
}

function lines(plot) {
	if (plot.classes)
		return CLASSES.map(([name, c]) => [name, seen[plot.classes][name], c]);
	const list = plot.lines.map(([label, key, c]) => [label, seen[key], c]);
	if (!plot.refused)
		return list;
	const reasons = Object.entries(seen.rejected_by_reason_per_second);
	if (chosen)
		return [...list, ["refused", seen.rejected_per_second, 1]];
	return [...list, ...reasons.map(([reason, of], i) => [`refused: ${reason}`, of, [1, 3, 0, 5, 4][i % 5]])];
}

// Without what has no value, as a limit of all models together.
function datasets(plot) {
	return lines(plot).filter(([, values]) => values?.some((y) => y !== null)).map(([label, values, c]) => ({
		label,
		data: seen.unix_ms.map((x, i) => ({ x, y: values[i] })),
		borderColor: colour(`--c${c}`),
		backgroundColor: colour(`--c${c}`),
		borderDash: label === "target" || label === "limit" ? [5, 4] : [],
		borderWidth: 1.6,
		pointRadius: 0,
		pointHitRadius: 6,
	}));
}

function options() {
	const text = colour("--faint"), line = colour("--line");
	return {
		animation: false,
		maintainAspectRatio: false,
		parsing: false,
		interaction: { mode: "nearest", axis: "x", intersect: false },
		plugins: {
			legend: { align: "start", labels: { color: text, boxWidth: 14, boxHeight: 1 } },
			tooltip: { callbacks: { title: (items) => clock(items[0].parsed.x) } },
		},
		scales: {
			x: {
				type: "linear",
				afterBuildTicks: ticks,
				ticks: { color: text, autoSkip: false, maxRotation: 0,
					 callback: (value) => clock(value).slice(0, 5) },
				grid: { color: line },
			},
			y: { min: 0, suggestedMax: 1, grace: "5%", ticks: { color: text, maxTicksLimit: 5 },
			     grid: { color: line } },
		},
	};
}

// What a plot shows, for those who do not see it.
function spoken(plot) {
	const last = lines(plot).map(([label, values]) => {
		const value = values?.at(-1);
		return `${label} ${value === null || value === undefined ? "none" : value}`;
	});
	return `${plot.title}, at last: ${last.join(", ")}`;
}

function makeCharts() {
	const into = document.querySelector(".plots");
	charts.forEach((chart) => chart.destroy());
	into.textContent = "";
	plots = wanted();
	charts = plots.map((plot) => {
		const figure = document.createElement("figure");
		const caption = document.createElement("figcaption");
		const box = document.createElement("div");
		const canvas = document.createElement("canvas");
		caption.textContent = plot.title;
		box.className = "plot";
		canvas.setAttribute("role", "img");
		box.append(canvas);
		figure.append(caption, box);
		into.append(figure);
		return new Chart(canvas, { type: "line", data: { datasets: [] }, options: options() });
	});
}

function draw() {
	const end = seen.now_unix_ms;
	charts.forEach((chart, i) => {
		chart.data.datasets = datasets(plots[i]);
		chart.options.scales.x.min = Math.min(seen.unix_ms[0] ?? end, end - 300000);
		chart.options.scales.x.max = end;
		chart.canvas.setAttribute("aria-label", spoken(plots[i]));
		chart.update("none");
	});
}

function listModels(names) {
	const select = $("which");
	const have = [...select.options].slice(1).map((option) => option.value);
	if (have.join("\n") === names.join("\n"))
		return;
	while (select.options.length > 1)
		select.remove(1);
	for (const name of names)
		select.add(new Option(name, name));
	select.value = names.includes(chosen) ? chosen : "";
}

async function renewHistory() {
	const of = chosen, after = seen.unix_ms.at(-1) ?? 0;
	const model = of ? `&model=${encodeURIComponent(of)}` : "";
	const fresh = await (await request(`/v1/history?after=${after}${model}`)).json();
	if (of !== chosen)
		return;
	seen = join(seen, fresh);
	listModels(fresh.models);
	$("history").hidden = false;
	if (charts.length !== wanted().length)
		makeCharts();
	draw();
	document.documentElement.dataset.points = seen.unix_ms.length;
}

function choose(name) {
	chosen = name;
	seen = unseen();
	return renewHistory();
}

/* ---- the clock ---- */

let turns = 0;

async function turn() {
	try {
		if (!document.hidden) {
			if (turns++ > 0)
				await renewFigures();
			if (window.Chart && turns % 5 === 1)
				await renewHistory();
			problem("");
		}
	} catch (error) {
		problem(`These figures are old: ${error.message}.`);
		if (chosen && String(error.message).endsWith("404")) {
			$("which").value = "";
			chosen = "";
			seen = unseen();
		}
	}
	document.documentElement.dataset.turns = turns;
	setTimeout(turn, PAGE_MS);
}

$("which").addEventListener("change", (event) =>
	choose(event.target.value).catch((error) => problem(`${error.message}.`)));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
	if (charts.length) {
		makeCharts();
		draw();
	}
});
turn();
