// SPDX-License-Identifier: MIT
/*
 * nvtrace -T html: one page with a timeline that needs nothing else, no server and no network.
 *
 * Nothing of the trace becomes markup: all of it is one JSON object in a script element of a type
 * that is not run, in ASCII without < > & and quotes, and the page's script puts it into the
 * document as text only.
 */
#include "output.h"
#include "json.h"

#define COMMANDS \
	10000 /* a browser draws so many and is still quick; the page says what is missing */
#define TICKS   20000
#define LANES   256
#define BUCKETS 4096

struct bar {
	uint64_t from, to, number, end_number;
	uint32_t lane, have, cpl_has, next; /* next: of the same bucket, index + 1 */
	bool done;
	struct nvme_cmd cmd;
	struct nvme_cpl cpl;
};

struct tick {
	uint64_t at;
	uint32_t lane, old_value, new_value;
	bool cq, has_old;
};

struct page {
	struct bar *bar;
	struct tick *tick;
	uint64_t lane[LANES];
	uint32_t bars, ticks, lanes;
	uint64_t bars_seen, ticks_seen, lost;
	uint64_t first, last;
	bool started, timed;
	uint32_t bucket[BUCKETS];
};

/* ---- the page before and behind its data ---- */

/* clang-format off */
static const char *const page_head[] = {
	"<!DOCTYPE html>",
	"<html lang='en'>",
	"<head>",
	"<meta charset='utf-8'>",
	"<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">",
	"<meta name='viewport' content='width=device-width, initial-scale=1'>",
	"<title>NVMe trace</title>",
	"<style>",
	":root { color-scheme: light dark; --fg: #1c2128; --bg: #fff; --soft: #6b7480; --line: #d6dbe1;",
	"  --panel: #f4f6f8; --read: #2f7fd0; --write: #c9741a; --admin: #7d5bc4; --other: #2f8f5b;",
	"  --error: #cc2f3a; --sq: #1c2128; --cq: #8a949e; }",
	"@media (prefers-color-scheme: dark) { :root { --fg: #e4e8ec; --bg: #14181d; --soft: #98a2ad;",
	"  --line: #333a42; --panel: #1d232a; --read: #5aa5ee; --write: #eb9d4b; --admin: #a78be8;",
	"  --other: #58b985; --error: #f2606a; --sq: #e4e8ec; --cq: #76808b; } }",
	"* { box-sizing: border-box; }",
	"body { margin: 0; font: 14px/1.4 system-ui, sans-serif; color: var(--fg); background: var(--bg);",
	"  display: flex; flex-direction: column; height: 100vh; }",
	"header { padding: 8px 12px; display: flex; gap: 6px 12px; flex-wrap: wrap; align-items: center;",
	"  border-bottom: 1px solid var(--line); }",
	"h1 { font-size: 16px; margin: 0; }",
	"button { font: inherit; padding: 2px 10px; }",
	"#legend span { margin-right: 10px; white-space: nowrap; }",
	"#legend i { display: inline-block; width: 12px; height: 12px; margin-right: 4px;",
	"  vertical-align: -1px; border-radius: 2px; }",
	"#legend i.tick { width: 2px; }",
	"#cut { color: var(--error); }",
	"#range, #help { color: var(--soft); }",
	"main { flex: 1; display: flex; min-height: 0; }",
	"#scroll { flex: 1; overflow-y: auto; min-width: 0; }",
	"#chart { display: block; width: 100%; cursor: grab; user-select: none; }",
	"#detail { width: 400px; overflow: auto; padding: 8px 12px; background: var(--panel);",
	"  border-left: 1px solid var(--line); }",
	"#detail h2 { font-size: 14px; margin: 4px 0; overflow-wrap: anywhere; }",
	"#detail table { border-collapse: collapse; width: 100%; margin-bottom: 10px; }",
	"#detail td { padding: 1px 8px 1px 0; vertical-align: top; font-family: ui-monospace, monospace;",
	"  font-size: 12px; overflow-wrap: anywhere; }",
	"#detail td:first-child { color: var(--soft); white-space: nowrap; }",
	"text { fill: var(--fg); font: 12px system-ui, sans-serif; }",
	"text.soft { fill: var(--soft); font-size: 11px; }",
	".grid { stroke: var(--line); }",
	".bar { cursor: pointer; }",
	".bar.open { opacity: .45; }",
	".bar.picked { stroke: var(--fg); stroke-width: 2; }",
	".read { fill: var(--read); background: var(--read); }",
	".write { fill: var(--write); background: var(--write); }",
	".admin { fill: var(--admin); background: var(--admin); }",
	".other { fill: var(--other); background: var(--other); }",
	".error { fill: var(--error); background: var(--error); }",
	".tick.sq { stroke: var(--sq); background: var(--sq); }",
	".tick.cq { stroke: var(--cq); background: var(--cq); }",
	"@media (max-width: 800px) { main { flex-direction: column; }",
	"  #detail { width: auto; max-height: 45%; border-left: 0; border-top: 1px solid var(--line); } }",
	"</style>",
	"</head>",
	"<body>",
	"<header>",
	"<h1>NVMe trace</h1>",
	"<span><button id='in' title='key +'>zoom in</button> <button id='out' title='key -'>zoom out</button>",
	"<button id='all' title='key 0'>all</button> <button id='prev' title='key p'>previous</button>",
	"<button id='next' title='key n'>next</button></span>",
	"<span id='legend'><span><i class='read'></i>read</span><span><i class='write'></i>write</span>",
	"<span><i class='other'></i>other I/O</span><span><i class='admin'></i>admin</span>",
	"<span><i class='error'></i>error</span><span><i class='tick sq'></i>SQ doorbell</span>",
	"<span><i class='tick cq'></i>CQ doorbell</span></span>",
	"<span id='range'></span>",
	"<span id='cut'></span>",
	"</header>",
	"<main>",
	"<div id='scroll'><svg id='chart' xmlns='http://www.w3.org/2000/svg'></svg></div>",
	"<aside id='detail'><p id='help'>Click on a bar to see the command and its completion. The wheel zooms,",
	"dragging or Shift and the wheel moves.</p></aside>",
	"</main>",
	"<noscript>This page draws its data with a script of its own; scripts are switched off.</noscript>",
};

static const char *const page_tail[] = {
	"<script>",
	"'use strict';",
	"const T = JSON.parse(document.getElementById('data').textContent);",
	"const NS = 'http://www.w3.org/2000/svg', LEFT = 100, TOP = 24, ROW = 14, TICK = 12, GAP = 10;",
	"const chart = document.getElementById('chart'), detail = document.getElementById('detail');",
	"const span = Math.max(T.last - T.first, 1);",
	"let from = T.first - span * 0.01, to = T.last + span * 0.01, picked = -1, height = 0;",
	"",
	"function make(name, parent, attributes) {",
	"  const e = document.createElementNS(NS, name);",
	"  for (const k in attributes) e.setAttribute(k, attributes[k]);",
	"  parent.appendChild(e);",
	"  return e;",
	"}",
	"function time(v) {",
	"  if (!T.timed) return 'record ' + Math.round(v);",
	"  const a = Math.abs(v);",
	"  if (a < 1e3) return v.toFixed(0) + ' ns';",
	"  if (a < 1e6) return (v / 1e3).toFixed(2) + ' us';",
	"  if (a < 1e9) return (v / 1e6).toFixed(3) + ' ms';",
	"  return (v / 1e9).toFixed(6) + ' s';",
	"}",
	"/* Commands of a lane that overlap go into rows one below the other. */",
	"function layout() {",
	"  const ends = T.lanes.map(() => []);",
	"  for (const c of T.commands) {",
	"    const rows = ends[c.lane];",
	"    c.end = c.to === null ? T.last : c.to;",
	"    let row = rows.findIndex((end) => end <= c.from);",
	"    if (row < 0) row = rows.length;",
	"    rows[row] = c.end;",
	"    c.row = row;",
	"  }",
	"  height = TOP;",
	"  const order = T.lanes.map((lane, i) => i);",
	"  order.sort((a, b) => T.lanes[a].ctrlr - T.lanes[b].ctrlr || T.lanes[a].qid - T.lanes[b].qid);",
	"  order.forEach((i) => {",
	"    const lane = T.lanes[i];",
	"    lane.y = height + GAP / 2;",
	"    lane.h = Math.max(ends[i].length, 1) * ROW;",
	"    height += lane.h + TICK + GAP;",
	"  });",
	"}",
	"function kind(c) {",
	"  if (c.error) return 'error';",
	"  if (T.lanes[c.lane].qid === 0) return 'admin';",
	"  return c.opc === 2 ? 'read' : c.opc === 1 ? 'write' : 'other';",
	"}",
	"function build() {",
	"  layout();",
	"  chart.setAttribute('height', height + 10);",
	"  for (const lane of T.lanes) {",
	"    make('line', chart, {class: 'grid', x1: 0, x2: '100%', y1: lane.y - GAP / 2, y2: lane.y - GAP / 2});",
	"  }",
	"  const clip = make('clipPath', make('defs', chart, {}), {id: 'area'});",
	"  make('rect', clip, {x: LEFT, y: 0, width: '100%', height: height + 10});",
	"  make('g', chart, {id: 'axis'});",
	"  const plot = make('g', chart, {id: 'plot', 'clip-path': 'url(#area)'});",
	"  T.ticks.forEach((d) => {",
	"    const lane = T.lanes[d.lane], y = lane.y + lane.h + (d.cq ? TICK / 2 : 0);",
	"    d.e = make('line', plot, {class: 'tick ' + (d.cq ? 'cq' : 'sq'), y1: y, y2: y + TICK / 2});",
	"    make('title', d.e, {}).textContent = d.text + ', ' + time(d.at);",
	"  });",
	"  T.commands.forEach((c, i) => {",
	"    c.e = make('rect', plot, {class: 'bar ' + kind(c) + (c.to === null ? ' open' : ''),",
	"      'data-i': i, y: T.lanes[c.lane].y + c.row * ROW, height: ROW - 2, rx: 2});",
	"    make('title', c.e, {}).textContent = c.title;",
	"  });",
	"  for (const lane of T.lanes) {",
	"    make('text', chart, {x: 8, y: lane.y + 11}).textContent = lane.name;",
	"    make('text', chart, {x: 8, y: lane.y + lane.h + TICK - 2, class: 'soft'}).textContent = 'doorbells';",
	"  }",
	"}",
	"function axis(width) {",
	"  const g = document.getElementById('axis'), want = (to - from) / Math.max(width / 130, 1);",
	"  let step = Math.pow(10, Math.floor(Math.log10(want)));",
	"  step *= want / step > 5 ? 10 : want / step > 2 ? 5 : want / step > 1 ? 2 : 1;",
	"  if (!T.timed && step < 1) step = 1;",
	"  g.textContent = '';",
	"  for (let n = Math.ceil(from / step); n * step <= to; n++) {",
	"    const x = LEFT + (n * step - from) / (to - from) * width;",
	"    make('line', g, {class: 'grid', x1: x, x2: x, y1: 16, y2: height});",
	"    make('text', g, {x: x + 2, y: 12, class: 'soft'}).textContent = time(n * step);",
	"  }",
	"}",
	"function draw() {",
	"  const width = Math.max(chart.clientWidth - LEFT, 50), scale = width / (to - from);",
	"  axis(width);",
	"  for (const c of T.commands) {",
	"    const a = Math.max((c.from - from) * scale, -10), b = Math.min((c.end - from) * scale, width + 10);",
	"    const seen = b >= 0 && a <= width;",
	"    c.e.style.display = seen ? '' : 'none';",
	"    if (!seen) continue;",
	"    c.e.setAttribute('x', (LEFT + a).toFixed(2));",
	"    c.e.setAttribute('width', Math.max(b - a, 3).toFixed(2));",
	"  }",
	"  for (const d of T.ticks) {",
	"    const x = (d.at - from) * scale, seen = x >= 0 && x <= width;",
	"    d.e.style.display = seen ? '' : 'none';",
	"    if (!seen) continue;",
	"    d.e.setAttribute('x1', (LEFT + x).toFixed(2));",
	"    d.e.setAttribute('x2', (LEFT + x).toFixed(2));",
	"  }",
	"  document.getElementById('range').textContent = T.commands.length + ' commands, '",
	"    + (T.timed ? time(to - from) + ' shown' : 'no times in this trace: records in their order');",
	"}",
	"function zoom(factor, at) {",
	"  const least = T.timed ? 10 : 2, size = Math.min(Math.max((to - from) * factor, least), span * 4);",
	"  from = at - (at - from) / (to - from) * size;",
	"  to = from + size;",
	"  draw();",
	"}",
	"function move(by) {",
	"  const size = to - from;",
	"  from = Math.min(Math.max(from + by, T.first - size * 0.9), T.last - size * 0.1);",
	"  to = from + size;",
	"  draw();",
	"}",
	"function all() {",
	"  from = T.first - span * 0.01;",
	"  to = T.last + span * 0.01;",
	"  draw();",
	"}",
	"function table(title, rows) {",
	"  const h = document.createElement('h2'), t = document.createElement('table');",
	"  h.textContent = title;",
	"  for (const row of rows) {",
	"    const tr = t.insertRow();",
	"    for (const cell of row) tr.insertCell().textContent = cell;",
	"  }",
	"  detail.append(h, t);",
	"}",
	"function pick(i) {",
	"  const c = T.commands[i];",
	"  if (!c) return;",
	"  if (picked >= 0) T.commands[picked].e.classList.remove('picked');",
	"  picked = i;",
	"  c.e.classList.add('picked');",
	"  detail.textContent = '';",
	"  const about = [['queue', T.lanes[c.lane].name], ['submitted', time(c.from)]];",
	"  if (c.to !== null) about.push(['completed', time(c.to)]);",
	"  if (c.to !== null && T.timed) about.push(['latency', time(c.to - c.from)]);",
	"  about.push(['record', String(c.record)]);",
	"  table(c.title, about);",
	"  table('Submission queue entry', c.sqe);",
	"  if (c.cqe) table('Completion queue entry', c.cqe);",
	"  else table('No completion in this trace', []);",
	"}",
	"function step(by) {",
	"  pick(Math.min(Math.max(picked + by, 0), T.commands.length - 1));",
	"  if (picked < 0) return;",
	"  const c = T.commands[picked];",
	"  if (c.from < from || c.from > to) move(c.from - (from + to) / 2);",
	"}",
	"chart.addEventListener('click', (e) => {",
	"  const bar = e.target.closest('.bar');",
	"  if (bar) pick(Number(bar.getAttribute('data-i')));",
	"});",
	"chart.addEventListener('wheel', (e) => {",
	"  const width = Math.max(chart.clientWidth - LEFT, 50);",
	"  e.preventDefault();",
	"  if (e.shiftKey || Math.abs(e.deltaX) > Math.abs(e.deltaY))",
	"    move((e.deltaX || e.deltaY) / width * (to - from));",
	"  else",
	"    zoom(Math.pow(1.0015, e.deltaY), from + (e.offsetX - LEFT) / width * (to - from));",
	"}, {passive: false});",
	"let drag = null;",
	"chart.addEventListener('pointerdown', (e) => { drag = e.clientX; });",
	"window.addEventListener('pointerup', () => { drag = null; });",
	"window.addEventListener('pointermove', (e) => {",
	"  if (drag === null) return;",
	"  const width = Math.max(chart.clientWidth - LEFT, 50);",
	"  move((drag - e.clientX) / width * (to - from));",
	"  drag = e.clientX;",
	"});",
	"const keys = {'+': () => zoom(0.6, (from + to) / 2), '-': () => zoom(1.7, (from + to) / 2), '0': all,",
	"  n: () => step(1), p: () => step(-1), ArrowLeft: () => move((from - to) / 10),",
	"  ArrowRight: () => move((to - from) / 10)};",
	"document.addEventListener('keydown', (e) => {",
	"  if (!keys[e.key] || e.ctrlKey || e.metaKey || e.altKey) return;",
	"  e.preventDefault();",
	"  keys[e.key]();",
	"});",
	"document.getElementById('in').onclick = keys['+'];",
	"document.getElementById('out').onclick = keys['-'];",
	"document.getElementById('all').onclick = all;",
	"document.getElementById('prev').onclick = keys.p;",
	"document.getElementById('next').onclick = keys.n;",
	"document.getElementById('cut').textContent = T.cut;",
	"window.addEventListener('resize', draw);",
	"build();",
	"draw();",
	"</script>",
	"</body>",
	"</html>",
};
/* clang-format on */

/* ---- taking in records ---- */

static int html_begin(struct output *o)
{
	struct page *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return -ENOMEM;
	p->bar = calloc(COMMANDS, sizeof(*p->bar));
	p->tick = calloc(TICKS, sizeof(*p->tick));
	o->state = p;
	if (p->bar != NULL && p->tick != NULL)
		return 0;
	free(p->bar);
	free(p->tick);
	free(p);
	o->state = NULL;
	return -ENOMEM;
}

/* Which lane a record is on; LANES: there are too many queues. */
static uint32_t lane_of(struct page *p, const struct rec *r)
{
	uint64_t key = queue_key(r);
	uint32_t i;

	for (i = 0; i < p->lanes; i++)
		if (p->lane[i] == key)
			return i;
	if (p->lanes == LANES)
		return LANES;
	p->lane[p->lanes] = key;
	return p->lanes++;
}

static uint64_t place_of(const struct page *p, const struct rec *r)
{
	if (!p->timed)
		return r->number;
	return (r->has & HAS_TIME) != 0 ? r->time_ns : p->last;
}

static uint32_t *bucket_of(struct page *p, uint64_t number)
{
	return &p->bucket[(number * UINT64_C(0x9e3779b97f4a7c15)) >> 52];
}

static void take_command(struct page *p, const struct rec *r, uint64_t at)
{
	uint32_t lane = lane_of(p, r), *bucket = bucket_of(p, r->number);
	struct bar *b;

	p->bars_seen++;
	if (p->bars == COMMANDS || lane == LANES)
		return;
	b = &p->bar[p->bars++];
	*b = (struct bar){.from = at,
	                  .to = at,
	                  .number = r->number,
	                  .lane = lane,
	                  .have = r->cmd_have,
	                  .next = *bucket,
	                  .cmd = r->cmd};
	*bucket = p->bars;
}

static void take_completion(struct page *p, const struct rec *r, uint64_t at)
{
	uint32_t i, lane = lane_of(p, r);
	struct bar *b;

	if (r->cmd_number == 0) {
		p->lost++;
		return;
	}
	for (i = *bucket_of(p, r->cmd_number); i != 0; i = b->next) {
		b = &p->bar[i - 1];
		if (b->number != r->cmd_number || b->lane != lane || b->done)
			continue;
		b->done = true;
		b->to = at > b->from ? at : b->from;
		b->cpl = r->cpl;
		b->cpl_has = r->has;
		b->end_number = r->number;
		return;
	}
}

static void take_doorbell(struct page *p, const struct rec *r, uint64_t at)
{
	uint32_t lane = lane_of(p, r);

	p->ticks_seen++;
	if (p->ticks == TICKS || lane == LANES || p->bars_seen > COMMANDS)
		return;
	p->tick[p->ticks++] = (struct tick){.at = at,
	                                    .lane = lane,
	                                    .cq = r->doorbell.cq != 0,
	                                    .has_old = (r->has & HAS_OLD) != 0,
	                                    .old_value = r->doorbell.old_value,
	                                    .new_value = r->doorbell.new_value};
}

static int html_record(struct output *o, struct rec *r)
{
	struct page *p = o->state;
	uint64_t at;

	if (r->kind != REC_COMMAND && r->kind != REC_COMPLETION && r->kind != REC_DOORBELL)
		return 0;
	if ((r->has & HAS_QID) == 0)
		return 0;
	if (!p->started) {
		p->started = true;
		p->timed = (r->has & HAS_TIME) != 0;
		p->first = p->last = p->timed ? r->time_ns : r->number;
	}
	at = place_of(p, r);
	at = at < p->first ? p->first : at;
	if (p->bars_seen <= COMMANDS && at > p->last)
		p->last = at;
	if (r->kind == REC_COMMAND)
		take_command(p, r, at);
	else if (r->kind == REC_COMPLETION)
		take_completion(p, r, at);
	else
		take_doorbell(p, r, at);
	return 0;
}

/* ---- the data of the page ---- */

/* A string that came from a source: nothing of it can end the script element that it is in. */
static void put_json_string(FILE *out, const char *text)
{
	struct json json;

	json_init(&json, out);
	json.html = true;
	json_quote(&json, text, strlen(text));
}

/* A row of the table of fields. */
static void __attribute__((format(printf, 5, 6)))
put_row(FILE *out, bool *first, const char *name, const char *text, const char *fmt, ...)
{
	char value[64];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	fputs(*first ? "[" : ",[", out);
	*first = false;
	put_json_string(out, name);
	fputc(',', out);
	put_json_string(out, value);
	fputc(',', out);
	put_json_string(out, text);
	fputc(']', out);
}

static void put_dptr(FILE *out, bool *first, const struct bar *b)
{
	if ((b->have & HAVE_DPTR1) != HAVE_DPTR1)
		return;
	if ((b->have & HAVE_FLAGS) != 0 && NVME_GET(b->cmd.flags, NVME_CMD_PSDT) != NVME_PSDT_PRP) {
		put_row(out, first, "SGL1",
		        nvme_sgl_type_name((uint8_t)NVME_GET(b->cmd.dptr.sgl.id, NVME_SGL_TYPE)),
		        "%016" PRIx64 "h", b->cmd.dptr.sgl.addr);
		return;
	}
	put_row(out, first, "PRP1", "", "%016" PRIx64 "h", b->cmd.dptr.prp.prp1);
	if ((b->have & HAVE_DPTR2) == HAVE_DPTR2)
		put_row(out, first, "PRP2", "", "%016" PRIx64 "h", b->cmd.dptr.prp.prp2);
}

static void put_command_dwords(FILE *out, bool *first, uint16_t qid, const struct bar *b)
{
	const struct nvme_cmd_field *f = nvme_cmd_fields(qid, b->cmd.opc);
	char text[256], name[64];

	for (; f->name != NULL; f++) {
		if ((b->have & HAVE_DW(f->dword)) == 0 &&
		    ((b->have & HAVE_NLB) == 0 || strcmp(f->name, "NLB") != 0))
			continue;
		text[0] = '\0';
		cmd_field_value(text, sizeof(text), f, qid, &b->cmd);
		snprintf(name, sizeof(name), "%s", f->name);
		put_row(out, first, name, text[0] != '\0' ? text : f->what, "%" PRIx64 "h",
		        nvme_cmd_field_get(f, &b->cmd));
	}
}

static void put_sqe(FILE *out, uint16_t qid, const struct bar *b)
{
	bool first = true;

	fputs(",\"sqe\":[", out);
	if ((b->have & HAVE_OPC) != 0)
		put_row(out, &first, "OPC", nvme_opc_name(qid, b->cmd.opc), "%02xh",
		        (unsigned)b->cmd.opc);
	if ((b->have & HAVE_FLAGS) != 0) {
		put_row(out, &first, "FUSE", "", "%" PRIu32, NVME_GET(b->cmd.flags, NVME_CMD_FUSE));
		put_row(out, &first, "PSDT",
		        NVME_GET(b->cmd.flags, NVME_CMD_PSDT) == 0 ? "PRPs" : "SGL", "%" PRIu32,
		        NVME_GET(b->cmd.flags, NVME_CMD_PSDT));
	}
	put_row(out, &first, "CID", "", "%u", (unsigned)b->cmd.cid);
	if ((b->have & HAVE_NSID) != 0)
		put_row(out, &first, "NSID", "", "%" PRIu32, b->cmd.nsid);
	if ((b->have & HAVE_MPTR) == HAVE_MPTR)
		put_row(out, &first, "MPTR", "", "%016" PRIx64 "h", b->cmd.mptr);
	put_dptr(out, &first, b);
	if ((b->have & HAVE_OPC) != 0)
		put_command_dwords(out, &first, qid, b);
	fputc(']', out);
}

static void put_cqe(FILE *out, const struct bar *b)
{
	uint16_t status = b->cpl.status;
	bool first = true;

	fputs(",\"cqe\":[", out);
	if ((b->cpl_has & HAS_DW0) != 0)
		put_row(out, &first, "DW0", "", "%08" PRIx32 "h", b->cpl.cdw0);
	if ((b->cpl_has & HAS_DW1) != 0)
		put_row(out, &first, "DW1", "", "%08" PRIx32 "h", b->cpl.cdw1);
	if ((b->cpl_has & HAS_SQHD) != 0)
		put_row(out, &first, "SQHD", "", "%u", (unsigned)b->cpl.sqhd);
	if ((b->cpl_has & HAS_SQID) != 0)
		put_row(out, &first, "SQID", "", "%u", (unsigned)b->cpl.sqid);
	put_row(out, &first, "CID", "", "%u", (unsigned)b->cpl.cid);
	if ((b->cpl_has & HAS_PHASE) != 0)
		put_row(out, &first, "P", "", "%" PRIu32, NVME_GET(status, NVME_CPL_P));
	if ((b->cpl_has & HAS_STATUS) != 0) {
		put_row(out, &first, "SCT", nvme_sct_name(cpl_sct(&b->cpl)), "%xh",
		        (unsigned)cpl_sct(&b->cpl));
		put_row(out, &first, "SC", nvme_status_name(cpl_sct(&b->cpl), cpl_sc(&b->cpl)),
		        "%02xh", (unsigned)cpl_sc(&b->cpl));
	}
	if ((b->cpl_has & HAS_FLAGS) != 0) {
		put_row(out, &first, "CRD", "", "%" PRIu32, NVME_GET(status, NVME_CPL_CRD));
		put_row(out, &first, "M", "", "%" PRIu32, NVME_GET(status, NVME_CPL_M));
		put_row(out, &first, "DNR", "", "%" PRIu32, NVME_GET(status, NVME_CPL_DNR));
	}
	fputc(']', out);
}

/* Times count from the first record: a script's numbers hold 53 bits only. */
static uint64_t since(const struct page *p, uint64_t at)
{
	if (!p->timed)
		return at;
	return at > p->first ? at - p->first : 0;
}

static void put_command(FILE *out, const struct page *p, const struct bar *b)
{
	uint16_t qid = key_qid(p->lane[b->lane]);
	struct rec done = {.has = b->cpl_has, .cpl = b->cpl};
	char title[384], status[96];

	cmd_describe(title, sizeof(title), qid, &b->cmd, b->have);
	if (b->done) {
		cpl_describe(status, sizeof(status), &done);
		text_add(title, sizeof(title), ": %s", status);
	}
	fprintf(out, "{\"lane\":%" PRIu32 ",\"from\":%" PRIu64 ",\"to\":", b->lane,
	        since(p, b->from));
	if (b->done)
		fprintf(out, "%" PRIu64, since(p, b->to));
	else
		fputs("null", out);
	fprintf(out, ",\"opc\":%d,\"error\":%s,\"record\":%" PRIu64 ",\"title\":",
	        (b->have & HAVE_OPC) != 0 ? (int)b->cmd.opc : -1,
	        b->done && rec_is_error(&done) ? "true" : "false", b->number);
	put_json_string(out, title);
	put_sqe(out, qid, b);
	if (b->done)
		put_cqe(out, b);
	fputc('}', out);
}

static void put_tick(FILE *out, const struct page *p, const struct tick *t)
{
	char text[96];

	snprintf(text, sizeof(text), "%s doorbell", t->cq ? "CQ head" : "SQ tail");
	if (t->has_old)
		text_add(text, sizeof(text), " %" PRIu32 " to", t->old_value);
	text_add(text, sizeof(text), " %" PRIu32, t->new_value);
	fprintf(out, "{\"lane\":%" PRIu32 ",\"at\":%" PRIu64 ",\"cq\":%s,\"text\":", t->lane,
	        since(p, t->at), t->cq ? "true" : "false");
	put_json_string(out, text);
	fputc('}', out);
}

static bool several_ctrlrs(const struct page *p)
{
	uint32_t i;

	for (i = 1; i < p->lanes; i++)
		if (key_ctrlr(p->lane[i]) != key_ctrlr(p->lane[0]))
			return true;
	return false;
}

static void put_lanes(FILE *out, const struct page *p)
{
	bool several = several_ctrlrs(p);
	char name[64];
	uint32_t i;

	for (i = 0; i < p->lanes; i++) {
		name[0] = '\0';
		if (several)
			text_add(name, sizeof(name), "%" PRIu32 ": ", key_ctrlr(p->lane[i]));
		if (key_qid(p->lane[i]) == 0)
			text_add(name, sizeof(name), "admin queue");
		else
			text_add(name, sizeof(name), "queue %u", (unsigned)key_qid(p->lane[i]));
		fprintf(out, "%s{\"ctrlr\":%" PRIu32 ",\"qid\":%u,\"name\":", i == 0 ? "" : ",",
		        key_ctrlr(p->lane[i]), (unsigned)key_qid(p->lane[i]));
		put_json_string(out, name);
		fputc('}', out);
	}
}

static void put_data(FILE *out, const struct page *p)
{
	char cut[160] = "";
	uint32_t i;

	if (p->bars < p->bars_seen)
		text_add(cut, sizeof(cut),
		         "only the first %" PRIu32 " of %" PRIu64
		         " commands are shown: choose with -f. ",
		         p->bars, p->bars_seen);
	else if (p->ticks < p->ticks_seen)
		text_add(cut, sizeof(cut), "only %" PRIu32 " of %" PRIu64 " doorbells are shown. ",
		         p->ticks, p->ticks_seen);
	if (p->lost != 0)
		text_add(cut, sizeof(cut), "%" PRIu64 " completions have no command.", p->lost);
	fprintf(out,
	        "<script type='application/json' id='data'>\n{\"timed\":%s,\"first\":%" PRIu64
	        ",\"last\":%" PRIu64 ",\"cut\":",
	        p->timed ? "true" : "false", since(p, p->first), since(p, p->last));
	put_json_string(out, cut);
	fputs(",\n\"lanes\":[", out);
	put_lanes(out, p);
	fputs("],\n\"commands\":[", out);
	for (i = 0; i < p->bars; i++) {
		fputs(i == 0 ? "\n" : ",\n", out);
		put_command(out, p, &p->bar[i]);
	}
	fputs("],\n\"ticks\":[", out);
	for (i = 0; i < p->ticks; i++) {
		fputs(i == 0 ? "\n" : ",\n", out);
		put_tick(out, p, &p->tick[i]);
	}
	fputs("]}\n</script>\n", out);
}

static int html_end(struct output *o, struct pairing *pairing)
{
	struct page *p = o->state;
	size_t i;

	(void)pairing;
	for (i = 0; i < sizeof(page_head) / sizeof(page_head[0]); i++)
		fprintf(o->out, "%s\n", page_head[i]);
	put_data(o->out, p);
	for (i = 0; i < sizeof(page_tail) / sizeof(page_tail[0]); i++)
		fprintf(o->out, "%s\n", page_tail[i]);
	free(p->bar);
	free(p->tick);
	free(p);
	o->state = NULL;
	return 0;
}

const struct output_ops html_output = {.name = "html",
                                       .begin = html_begin,
                                       .record = html_record,
                                       .end = html_end};
