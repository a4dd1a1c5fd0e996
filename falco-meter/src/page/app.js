'use strict';
(() => {
const $ = id => document.getElementById(id);
const make = (tag, text, kind) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (kind) node.className = kind;
  return node;
};
const fill = (node, ...children) => { node.replaceChildren(...children); return node; };
const number = n => Math.round(n).toLocaleString('en-US');
const time = ms => {
  if (ms === null || ms === undefined) return '–';
  if (ms < 1) return `${ms.toFixed(2)} ms`;
  if (ms < 1000) return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 60) return `${s < 10 ? s.toFixed(2) : s.toFixed(1)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`;
  return `${Math.floor(s / 3600)} h ${Math.round(s % 3600 / 60)} min`;
};
const money = usd => usd === null || usd === undefined ? '–' : usd === 0 ? '$0'
  : usd < 0.01 ? `$${usd.toPrecision(3)}` : `$${usd.toFixed(2)}`;
const percent = part => part === 0 ? '0 %' : part < 0.001 ? '< 0.1 %' : `${(part * 100).toFixed(part < 0.1 ? 1 : 0)} %`;
const color = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const rgb = name => {
  const hex = color(name);
  return [1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16));
};

const embedded = $('data') ? JSON.parse($('data').textContent) : null;
let state = null, details = null, calls = null;
const lanes = { start: [], took: [], lane: [], kind: [], stage: [], view: null, longest: 0 };
const wanted = () => $('stage').value;

// Tables.
const row = (cells, head) => {
  const line = make('tr');
  cells.forEach((cell, index) => {
    const node = make(head || index === 0 ? 'th' : 'td');
    if (head) node.scope = 'col'; else if (index === 0) node.scope = 'row';
    if (cell instanceof Node) node.append(cell); else node.textContent = cell;
    if (cell && cell.wide) node.className = 'text';
    line.append(node);
  });
  return line;
};
const wide = text => { const node = make('span', text); node.wide = true; return node; };
const table = (node, caption, head, rows) => {
  const title = make('caption', caption, 'hidden');
  const top = make('thead'), body = make('tbody');
  top.append(row(head, true));
  // Texts stand at the left, and so do their names.
  head.forEach((_, index) => { if (rows[0]?.[index]?.wide) top.rows[0].cells[index].className = 'left'; });
  body.append(...rows.map(cells => row(cells)));
  fill(node, title, top, body);
};
const key = (node, entries) => fill(node, ...entries.map(([kind, text]) => {
  const item = make('li');
  item.append(make('span', undefined, `c-${kind}`), text);
  return item;
}));

// Canvases, in device pixels.
const canvas = node => {
  const scale = window.devicePixelRatio || 1;
  const width = Math.max(50, node.clientWidth), height = Number(node.getAttribute('data-height') || node.height);
  node.setAttribute('data-height', height);
  node.style.height = `${height}px`;
  node.width = Math.round(width * scale);
  node.height = Math.round(height * scale);
  const paint = node.getContext('2d');
  paint.setTransform(scale, 0, 0, scale, 0, 0);
  paint.font = '12px system-ui, sans-serif';
  return { paint, width, height, scale };
};
const LEFT = 66, BOTTOM = 20;
const steps = (from, to, most) => {
  const rough = (to - from) / most, power = 10 ** Math.floor(Math.log10(rough || 1));
  const step = [1, 2, 5, 10].map(n => n * power).find(n => n >= rough) || power;
  const all = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) all.push(at);
  return all;
};
const axisX = ({ paint, width, height }, from, to, x) => {
  paint.fillStyle = color('quiet');
  paint.textAlign = 'center';
  for (const at of steps(from, to, Math.max(2, width / 140))) {
    const place = x(at);
    if (place > LEFT + 14 && place < width - 24) paint.fillText(time(at), place, height - 5);
  }
};
const lines = (node, sets, unit) => {
  const area = canvas(node), { paint, width, height } = area;
  const points = sets.flatMap(set => set.points);
  if (!points.length) return;
  const to = Math.max(...points.map(p => p[0]), 1), top = Math.max(...points.map(p => p[1]), 1) * 1.05;
  const x = t => LEFT + t / to * (width - LEFT - 6), y = v => height - BOTTOM - v / top * (height - BOTTOM - 8);
  paint.lineWidth = 1;
  paint.textAlign = 'right';
  for (const at of steps(0, top, 4)) {
    paint.strokeStyle = color('grid');
    paint.beginPath(); paint.moveTo(LEFT, y(at)); paint.lineTo(width, y(at)); paint.stroke();
    paint.fillStyle = color('quiet');
    paint.fillText(number(at), LEFT - 6, y(at) + 4);
  }
  axisX(area, 0, to, x);
  for (const set of sets) {
    paint.strokeStyle = color(set.color);
    paint.lineWidth = 1.8;
    paint.setLineDash(set.dash || []);
    paint.beginPath();
    set.points.forEach(([t, v], index) => index ? paint.lineTo(x(t), y(v)) : paint.moveTo(x(t), y(v)));
    paint.stroke();
  }
  paint.setLineDash([]);
  const last = sets.map(set => `${set.name} ${set.points.length ? number(set.points.at(-1)[1]) : 0}`);
  node.setAttribute('aria-label', `${unit} until ${time(to)}; at the end: ${last.join(', ')}`);
};

// What the run is.
const STATES = { running: ['▶', 'running'], succeeded: ['✓', 'succeeded'], failed: ['✗', 'failed'], waiting: ['·', 'waiting'] };
const chosen = () => state.stages.filter(stage => !wanted() || stage.name === wanted());
const sum = (stages, take) => stages.reduce((all, stage) => all + (take(stage) || 0), 0);
const seen = [];
const showHead = () => {
  const over = state.ended !== null, bad = state.error !== null;
  const kind = !over ? 'running' : bad ? 'failed' : 'succeeded';
  $('run').textContent = state.run || 'run';
  $('sign').textContent = `${STATES[kind][0]} ${STATES[kind][1]} ${over ? 'after' : ''} ${time(over ? state.ended : state.now)}`;
  $('sign').className = `sign ${kind === 'succeeded' ? 'good' : kind === 'failed' ? 'bad' : ''}`;
  document.title = `${STATES[kind][0]} ${state.run} – Falco meter`;
  const begun = new Date(state.at).toISOString().replace('T', ' ').slice(0, 19);
  $('about').textContent = `began ${begun} UTC${state.host ? ` on ${state.host}` : ''}, falco ${state.falco}`;
  const names = state.stages.map(stage => stage.name), select = $('stage');
  if ([...select.options].slice(1).map(option => option.value).join('\n') !== names.join('\n')) {
    const before = select.value;
    fill(select, new Option('all', ''), ...names.map(name => new Option(name, name)));
    select.value = names.includes(before) ? before : '';
  }
  if (state.error) say(state.error); else if (!lost) $('message').hidden = true;
};
const say = text => { $('message').textContent = text; $('message').hidden = false; };
const showFigures = () => {
  const stages = chosen(), over = state.ended !== null;
  const done = sum(stages, s => s.done), failed = sum(stages, s => s.failed), calls = sum(stages, s => s.calls);
  const size = sum(stages, s => Math.max(s.size || 0, s.done + s.in_flight));
  const known = stages.every(s => s.size !== null), usd = sum(stages, s => s.usd), priced = stages.some(s => s.usd !== null);
  const flight = wanted() ? sum(stages, s => s.in_flight) : state.in_flight;
  seen.push([state.now, done]);
  while (seen.length > 2 && state.now - seen[0][0] > 30000) seen.shift();
  const span = state.now - seen[0][0];
  const rate = over || span < 400 ? done / Math.max(state.now, 1) * 1000 : (done - seen[0][1]) / span * 1000;
  const left = over || rate <= 0 ? null : (size - done) / rate * 1000;
  const entries = [
    ['done', number(done), size > done ? `of ${known ? '' : 'at least '}${number(size)}` : ''],
    ['failed', number(failed), done ? percent(failed / done) : ''],
    ['in flight', number(flight), state.waiting && !wanted() ? `${number(state.waiting)} wait` : ''],
    ['throttled', number(sum(stages, s => s.throttled)), `${number(calls)} calls`],
    ['cold starts', number(sum(stages, s => s.cold_starts)), ''],
    ['per second', rate >= 10 ? number(rate) : rate.toFixed(1), over ? 'over the run' : 'last 30 s'],
    ['left', over ? '–' : left === null ? '?' : `${known ? '' : '≥ '}${time(left)}`, ''],
    ['cost', priced ? money(usd) : '–', priced && done && size > done ? `of ≈ ${money(usd / done * size)}` : sum(stages, s => s.estimated) ? 'partly estimated' : ''],
  ];
  fill($('figures'), ...entries.map(([name, value, more]) => {
    const group = make('div'), data = make('dd', value);
    if (more) data.append(make('small', more));
    group.append(make('dt', name), data);
    return group;
  }));
  return { done, failed, size };
};
const depths = () => {
  const depth = {};
  for (let round = 0; round <= state.stages.length; round++)
    for (const stage of state.stages)
      depth[stage.name] = Math.max(0, ...stage.after.map(name => (depth[name] ?? 0) + 1));
  return depth;
};
const showStages = () => {
  const depth = depths(), layers = [];
  for (const stage of state.stages) (layers[depth[stage.name]] ||= []).push(stage);
  fill($('plan'), ...layers.filter(Boolean).flatMap((stages, index) => {
    const layer = make('div', undefined, 'layer');
    for (const stage of stages) {
      const part = stage.size ? ` ${percent(Math.min(1, stage.done / stage.size))}` : stage.done ? ` ${number(stage.done)}` : '';
      layer.append(make('div', `${STATES[stage.state][0]} ${stage.name}${part}`, `box ${stage.state}`));
    }
    return index ? [make('span', '→', 'arrow'), layer] : [layer];
  }));
  table($('stages'), 'Stages of the run', ['stage', 'state', 'after', 'done', 'failed', 'in flight', 'calls', 'repeated', 'throttled', 'cold', 'p50', 'p99', 'cost'],
    state.stages.map(s => [
      s.name, `${STATES[s.state][0]} ${STATES[s.state][1]}${s.skipped ? `, ${number(s.skipped)} skipped` : ''}`, s.after.join(', ') || '–',
      `${number(s.done)}${s.size > s.done ? ` of ${number(s.size)}` : ''}`, number(s.failed), number(s.in_flight), number(s.calls),
      number(Object.values(s.repeats).reduce((a, b) => a + b, 0)), number(s.throttled), number(s.cold_starts),
      time(s.times.total.count ? s.times.total.p50 : null), time(s.times.total.count ? s.times.total.p99 : null), money(s.usd),
    ]));
};
const PARTS = [['limit', 'wait for rate and window', 'limit'], ['queue', 'provider queue', 'queue'], ['cold_start', 'cold start', 'cold'],
  ['execution', 'execution', 'warm'], ['transport', 'transport', 'way'], ['total', 'total, of invocations', null]];
const bar = (node, parts, label) => {
  const all = parts.reduce((total, part) => total + part[1], 0);
  const picture = make('canvas', undefined, 'bar');
  picture.setAttribute('role', 'img');
  picture.setAttribute('aria-label', `${label}: ${parts.map(p => `${p[0]} ${percent(all ? p[1] / all : 0)}`).join(', ')}`);
  const list = make('ul', undefined, 'key');
  fill(node, picture, list);
  key(list, parts.map(([name, value, kind]) => [kind, `${name} ${percent(all ? value / all : 0)} (${time(value)})`]));
  picture.height = 18;
  const { paint, width } = canvas(picture);
  let x = 0;
  for (const [, value, kind] of parts) {
    const wide = all ? value / all * width : 0;
    paint.fillStyle = color(kind);
    paint.fillRect(x, 0, Math.max(0, wide - (wide > 3 ? 1 : 0)), 18);
    x += wide;
  }
};
const merge = (take, stages) => {
  if (stages.length === 1) return stages[0].times[take];
  const points = details ? details.cdf[take] : [];
  const count = points.reduce((all, p) => all + p[1], 0), at = {};
  for (const part of [0.5, 0.9, 0.99]) {
    let below = 0;
    at[part] = points.length ? (points.find(p => (below += p[1]) >= part * count) || points.at(-1))[0] : 0;
  }
  return { count, p50: at[0.5], p90: at[0.9], p99: at[0.99], max: points.length ? points.at(-1)[0] : 0 };
};
const showLatency = () => {
  const stages = chosen();
  table($('latency'), 'Latency', ['part', 'count', 'p50', 'p90', 'p99', 'max'], PARTS.map(([take, name]) => {
    const p = merge(take, stages);
    return [name, number(p.count), ...['p50', 'p90', 'p99', 'max'].map(at => p.count ? time(p[at]) : '–')];
  }));
  bar($('where'), PARTS.slice(0, 5).map(([take, name, kind]) => [name, sum(stages, s => s.sums[take]), kind]), 'Where the time of all calls goes');
};
const showCdf = () => {
  const points = details.cdf.total, all = points.reduce((total, p) => total + p[1], 0);
  const area = canvas($('cdf')), { paint, width, height } = area;
  if (!all) return;
  const log = ms => Math.log10(Math.max(ms, 0.1)), from = log(points[0][0]) - 0.1, to = log(points.at(-1)[0]) + 0.1;
  const x = ms => LEFT + (log(ms) - from) / (to - from) * (width - LEFT - 6), y = part => height - BOTTOM - part * (height - BOTTOM - 8);
  paint.textAlign = 'right';
  for (const part of [0, 0.5, 0.9, 1]) {
    paint.strokeStyle = color('grid');
    paint.beginPath(); paint.moveTo(LEFT, y(part)); paint.lineTo(width, y(part)); paint.stroke();
    if (part !== 0.9) { paint.fillStyle = color('quiet'); paint.fillText(percent(part), LEFT - 6, y(part) + 4); }
  }
  paint.textAlign = 'center';
  for (let power = Math.ceil(from); power <= to; power++) {
    paint.fillStyle = color('quiet');
    if (x(10 ** power) < width - 24) paint.fillText(time(10 ** power), x(10 ** power), height - 5);
  }
  paint.strokeStyle = color('warm');
  paint.lineWidth = 1.8;
  paint.beginPath();
  let below = 0;
  points.forEach(([ms, count], index) => {
    const before = y(below / all);
    below += count;
    if (!index) paint.moveTo(x(ms), before); else paint.lineTo(x(ms), before);
    paint.lineTo(x(ms), y(below / all));
  });
  paint.stroke();
  const p = merge('total', chosen());
  $('cdf').setAttribute('aria-label', `Invocations ended within: half ${time(p.p50)}, nine of ten ${time(p.p90)}, 99 of 100 ${time(p.p99)}, all ${time(p.max)}`);
};
const gates = [];
const showFlight = () => {
  const sets = [{ name: 'in flight', color: 'warm', points: gates.map(g => [g.t, g.fly]) }];
  if (gates.some(g => g.window !== undefined)) sets.push({ name: 'window', color: 'limit', dash: [5, 4], points: gates.filter(g => g.window !== undefined).map(g => [g.t, g.window]) });
  if (gates.some(g => g.wait)) sets.push({ name: 'waiting', color: 'queue', points: gates.map(g => [g.t, g.wait]) });
  lines($('flight'), sets, 'Invocations in flight');
  key($('flight-key'), sets.map(set => [set.color, set.name]));
  if (!gates.length) $('flight').setAttribute('aria-label', 'The run was shorter than a second, so that there is no sample of what was in flight');
};
const showRate = () => {
  const { width, settled, failed, refused } = details.series, rate = points => points.map((n, at) => [(at + 1) * width, n / width * 1000]);
  const sets = [{ name: 'done', color: 'warm', points: rate(settled) }, { name: 'failed', color: 'failed', points: rate(failed) }, { name: 'throttled', color: 'cold', dash: [5, 4], points: rate(refused) }]
    .filter((set, index) => !index || set.points.length);
  const rates = gates.filter(g => g.rate !== undefined);
  if (rates.length && !wanted()) sets.push({ name: 'rate allowed', color: 'limit', dash: [2, 3], points: rates.map(g => [g.t, g.rate]) });
  lines($('rate'), sets, 'Invocations per second');
  key($('rate-key'), sets.map(set => [set.color, set.name]));
};

// The heat map.
const heatArea = {};
const showHeat = () => {
  const { width: wide, columns, rows, warm, cold, failed } = details.heat, node = $('heat');
  const area = canvas(node), { paint, width, height } = area;
  const classes = [[warm, 'warm'], [cold, 'cold'], [failed, 'failed']];
  let lastColumn = 0, low = rows.length - 1, high = 0, most = 1, counts = {};
  for (const [cells, name] of classes) {
    counts[name] = 0;
    for (let at = 0; at < cells.length; at += 2) {
      const r = Math.floor(cells[at] / columns);
      lastColumn = Math.max(lastColumn, cells[at] % columns);
      low = Math.min(low, r); high = Math.max(high, r);
      most = Math.max(most, cells[at + 1]);
      counts[name] += cells[at + 1];
    }
  }
  if (low > high) return;
  low = Math.max(0, low - 1); high = Math.min(rows.length - 1, high + 1);
  const across = lastColumn + 1, up = high - low + 1;
  const cw = (width - LEFT) / across, ch = (height - BOTTOM) / up;
  const x = column => LEFT + column * cw, y = r => height - BOTTOM - (r - low + 1) * ch;
  Object.assign(heatArea, { low, high, across, up, wide, rows, width, height });
  for (const [cells, name] of classes) {
    const paintIn = rgb(name);
    for (let at = 0; at < cells.length; at += 2) {
      const strength = 0.35 + 0.65 * Math.log1p(cells[at + 1]) / Math.log1p(most);
      paint.fillStyle = `rgba(${paintIn.join(',')},${strength})`;
      paint.fillRect(x(cells[at] % columns), y(Math.floor(cells[at] / columns)), Math.max(1, cw - (cw > 4 ? 0.5 : 0)), Math.max(1.5, ch - (ch > 4 ? 0.5 : 0)));
    }
  }
  paint.textAlign = 'right';
  paint.fillStyle = color('quiet');
  const every = Math.max(1, Math.ceil(18 / ch));
  for (let r = low; r <= high; r += every) paint.fillText(time(rows[r]), LEFT - 6, Math.min(height - BOTTOM, y(r) + ch));
  axisX(area, 0, across * wide, t => LEFT + t / wide * cw);
  key($('heat-key'), [['warm', `succeeded, warm or not known (${number(counts.warm)})`], ['cold', `succeeded after a cold start (${number(counts.cold)})`], ['failed', `failed (${number(counts.failed)})`]]);
  node.setAttribute('aria-label', `Calls by when they were sent and how long they took: ${number(counts.warm)} succeeded, ${number(counts.cold)} after a cold start, ${number(counts.failed)} failed; from ${time(rows[low])} to ${time(rows[high])}`);
};

// The timeline: the last minute of a live run, or the whole of a report.
const KIND = { w: 0, c: 1, f: 2 };
const addRecent = recent => {
  for (const [stage, start, took, kind] of recent) {
    lanes.start.push(start); lanes.took.push(took); lanes.stage.push(stage); lanes.kind.push(KIND[kind]);
    lanes.longest = Math.max(lanes.longest, took);
  }
  const drop = lanes.start.length - 20000;
  if (drop > 0) for (const name of ['start', 'took', 'stage', 'kind']) lanes[name].splice(0, drop);
};
const pack = from => {
  const order = lanes.start.map((_, at) => at).filter(at => lanes.start[at] + lanes.took[at] >= from).sort((a, b) => lanes.start[a] - lanes.start[b]);
  const ends = [];
  lanes.lane = new Array(lanes.start.length).fill(-1);
  for (const at of order) {
    let lane = ends.findIndex(end => end <= lanes.start[at]);
    if (lane < 0) lane = ends.length < 2000 ? ends.length : 1999;
    ends[lane] = lanes.start[at] + lanes.took[at];
    lanes.lane[at] = lane;
  }
  lanes.count = ends.length;
};
const bisect = (list, value) => {
  let low = 0, high = list.length;
  while (low < high) { const middle = (low + high) >> 1; if (list[middle] < value) low = middle + 1; else high = middle; }
  return low;
};
const showLanes = () => {
  if (!lanes.start.length) return;
  const node = $('lanes'), area = canvas(node), { paint, width, height, scale } = area;
  const end = embedded ? embedded.span : state.now;
  let [from, to] = lanes.view || (embedded ? [0, end] : [Math.max(0, end - 60000), Math.max(end, 1)]);
  if (!embedded) pack(from);
  const only = wanted() ? state.stages.findIndex(stage => stage.name === wanted()) : -1;
  const w = Math.max(1, Math.round((width - LEFT) * scale)), h = Math.max(1, Math.round((height - BOTTOM) * scale));
  const image = paint.createImageData(w, h), pixels = new Uint32Array(image.data.buffer);
  const word = name => { const [r, g, b] = rgb(name); return (255 << 24 | b << 16 | g << 8 | r) >>> 0; };
  const paints = [word('warm'), word('cold'), word('failed')];
  const perLane = h / Math.max(1, lanes.count), thick = Math.max(1, Math.floor(perLane) - (perLane >= 3 ? 1 : 0));
  let first = 0, last = lanes.start.length;
  if (embedded) { first = bisect(lanes.start, from - lanes.longest); last = bisect(lanes.start, to); }
  let shown = 0;
  const times = w / (to - from);
  for (let pass = 0; pass < 2; pass++) for (let at = first; at < last; at++) {
    const kind = lanes.kind[at];
    if ((kind === 2) !== (pass === 1) || lanes.lane[at] < 0 || (only >= 0 && lanes.stage[at] !== only)) continue;
    const start = lanes.start[at], stop = start + lanes.took[at];
    if (stop < from || start > to) continue;
    shown++;
    const x0 = Math.max(0, Math.floor((start - from) * times)), x1 = Math.min(w, Math.max(x0 + 1, Math.ceil((stop - from) * times)));
    const y0 = Math.min(h - 1, Math.floor(lanes.lane[at] * perLane)), y1 = Math.min(h, y0 + thick);
    for (let y = y0; y < y1; y++) pixels.fill(paints[kind], y * w + x0, y * w + x1);
  }
  paint.putImageData(image, Math.round(LEFT * scale), 0);
  paint.textAlign = 'right';
  paint.fillStyle = color('quiet');
  const what = embedded && embedded.by_instance ? 'instances' : 'slots';
  paint.fillText(`${number(lanes.count)}`, LEFT - 6, 12);
  paint.fillText(what, LEFT - 6, 28);
  axisX(area, from, to, t => LEFT + (t - from) / (to - from) * (width - LEFT));
  key($('lanes-key'), [['warm', 'warm or not known'], ['cold', 'cold start'], ['failed', 'failed']]);
  const all = embedded ? `${number(embedded.calls)} calls` : `the latest ${number(lanes.start.length)} of ${number(state.seq)} calls`;
  $('lanes-help').textContent = embedded
    ? `All ${number(embedded.calls)} calls, one line for each ${what === 'slots' ? 'slot, the first that is free' : 'instance, from when it took the call'}. Drag to zoom; arrow keys move, + and − zoom, 0 shows all.`
    : `The last minute, ${all}, packed into slots. The report shows all.`;
  node.setAttribute('aria-label', `Timeline from ${time(from)} to ${time(to)}: ${number(shown)} of ${all}`);
  lanes.shown = [from, to, width, shown];
};
const moveLanes = (from, to) => {
  const end = embedded.span, length = Math.min(end, Math.max(0.05, to - from));
  from = Math.max(0, Math.min(from, end - length));
  lanes.view = [from, from + length];
  showLanes();
};
if (embedded) {
  const node = $('lanes');
  node.addEventListener('keydown', event => {
    const [from, to] = lanes.view || [0, embedded.span], length = to - from, middle = (from + to) / 2;
    const moves = { ArrowLeft: [from - length / 5, to - length / 5], ArrowRight: [from + length / 5, to + length / 5],
      '+': [middle - length / 4, middle + length / 4], '=': [middle - length / 4, middle + length / 4],
      '-': [middle - length, middle + length], '−': [middle - length, middle + length], '0': [0, embedded.span] };
    if (!moves[event.key]) return;
    event.preventDefault();
    moveLanes(...moves[event.key]);
  });
  let down = null;
  const at = event => {
    const [from, to, width] = lanes.shown, box = node.getBoundingClientRect();
    return from + Math.max(0, event.clientX - box.left - LEFT) / (width - LEFT) * (to - from);
  };
  node.addEventListener('pointerdown', event => { down = at(event); });
  node.addEventListener('pointerup', event => {
    if (down === null) return;
    const up = at(event), [from, to] = lanes.shown;
    if (Math.abs(up - down) > (to - from) / 200) moveLanes(Math.min(down, up), Math.max(down, up));
    down = null;
  });
  node.addEventListener('dblclick', () => moveLanes(0, embedded.span));
}

// Lists.
const openFailures = new Set();
const showFailures = () => {
  const { failures, failures_not_listed, kinds } = details, all = Object.values(kinds).reduce((a, b) => a + b, 0);
  $('failures-about').textContent = all === 0 ? 'No call has failed.'
    : failures_not_listed ? `${number(failures.length)} of ${number(all)} failed calls are listed.` : `All ${number(all)} failed calls are listed.`;
  fill($('kinds'), ...Object.entries(kinds).map(([kind, count]) => make('li', `${kind}: ${number(count)}`)));
  fill($('failures'), ...failures.map(failure => {
    const item = make('details'), error = failure.error || {}, name = `${failure.stage}/${failure.id}/${failure.attempt}`;
    const title = `${failure.stage} ${failure.id}${failure.attempt > 1 ? `, attempt ${failure.attempt}` : ''}: ${error.kind || failure.outcome}${error.type ? `: ${error.type}` : ''}${error.msg ? `: ${error.msg}` : ''}`;
    item.append(make('summary', title.length > 300 ? `${title.slice(0, 300)}…` : title));
    const facts = [`sent at ${time(failure.sent)}`, `took ${time(failure.took)}`];
    if (failure.activation) facts.push(`activation ${failure.activation}`);
    if (failure.container) facts.push(`instance ${failure.container}`);
    if (error.status !== undefined) facts.push(`exit status ${error.status}`);
    item.append(make('p', facts.join(', '), 'quiet'));
    if (error.msg) item.append(make('pre', error.msg));
    if (error.trace) item.append(make('pre', error.trace));
    if (failure.log.length) {
      item.append(make('p', failure.log_cut ? 'The end of its log:' : 'Its log:', 'quiet'));
      item.append(make('pre', failure.log.map(line => line[2]).join('\n')));
    }
    item.open = openFailures.has(name);
    item.addEventListener('toggle', () => item.open ? openFailures.add(name) : openFailures.delete(name));
    for (const box of item.querySelectorAll('pre')) box.tabIndex = 0;
    return item;
  }));
};
const callRow = call => [call.stage, call.id, String(call.attempt), call.outcome, time(call.sent), time(call.took), time(call.queue), time(call.init), time(call.ran),
  call.cold === null ? '–' : call.cold ? 'cold' : 'warm', call.container || '–', wide(call.error ? `${call.error.kind}${call.error.msg ? `: ${call.error.msg}` : ''}` : '')];
const CALLS = ['stage', 'invocation', 'attempt', 'outcome', 'sent', 'took', 'queue', 'cold start', 'ran', 'instance was', 'instance', 'error'];
const showSlowest = () => table($('slowest'), 'Slowest invocations', CALLS, details.slowest.map(callRow));
const showNotes = () => {
  const notes = [...state.notes, ...state.leftovers.map(name => `the function ${name} could not be removed`)];
  $('notes-section').hidden = !notes.length;
  fill($('notes'), ...notes.map(note => make('li', note)));
};

// The parts of a report.
const showReport = () => {
  const { critical, containers, cost } = embedded;
  $('critical-section').hidden = !critical.steps.length;
  if (critical.steps.length) {
    $('critical-about').textContent = `What the run waited for, one after the other: ${critical.steps_total > critical.steps.length ? `${number(critical.steps.length)} of ` : 'all '}${number(critical.steps_total)} steps, ${time(critical.length)} in all.`;
    bar($('critical-bar'), critical.parts.map(([name, ms, kind]) => [name, ms, kind]), 'The critical path');
    table($('critical'), 'Critical path', ['stage', 'invocation', 'from', 'took', 'what it was', 'why it began then'],
      critical.steps.map(step => [step.stage, step.id, time(step.from), time(step.took), wide(step.parts.map(([name, ms]) => `${name} ${time(ms)}`).join(', ')), wide(step.why)]));
  }
  $('cost-section').hidden = !cost.length;
  table($('cost'), 'Cost', ['stage', 'calls', 'cost', 'of repeats and copies', 'estimated calls'],
    cost.map(c => [c.stage, number(c.calls), money(c.usd), money(c.repeats), number(c.estimated)]));
  $('containers-section').hidden = !containers.length;
  $('containers-about').textContent = embedded.containers_total > containers.length ? `${number(containers.length)} of ${number(embedded.containers_total)} instances, the busiest first.` : `All ${number(containers.length)} instances, the busiest first.`;
  table($('containers'), 'Instances', ['instance', 'stage', 'calls', 'busy', 'from', 'to', 'failed'],
    containers.map(c => [c.id, c.stage, number(c.calls), time(c.busy), time(c.from), time(c.to), number(c.failed)]));
};
const inflate = async () => {
  const text = embedded.columns, bytes = Uint8Array.fromBase64 ? Uint8Array.fromBase64(text) : (() => {
    const raw = atob(text), all = new Uint8Array(raw.length);
    for (let at = 0; at < raw.length; at++) all[at] = raw.charCodeAt(at);
    return all;
  })();
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer()), n = embedded.calls;
  const word = (plane, at) => (planes[plane * n + at] | planes[(plane + 1) * n + at] << 8 | planes[(plane + 2) * n + at] << 16) + planes[(plane + 3) * n + at] * 16777216;
  lanes.start = new Float64Array(n); lanes.took = new Float64Array(n);
  lanes.lane = new Int32Array(n); lanes.kind = planes.subarray(11 * n, 12 * n); lanes.stage = planes.subarray(10 * n, 11 * n);
  let start = 0;
  for (let at = 0; at < n; at++) {
    start += word(0, at) / 100;
    lanes.start[at] = start;
    lanes.took[at] = word(4, at) / 100;
    lanes.lane[at] = planes[8 * n + at] | planes[9 * n + at] << 8;
    if (lanes.took[at] > lanes.longest) lanes.longest = lanes.took[at];
  }
  lanes.count = embedded.lanes;
};

// Drawing it all.
let announced = 0;
const showState = () => {
  showHead();
  const { done, failed, size } = showFigures();
  showStages(); showLatency(); showFlight(); showNotes();
  if (!embedded) showLanes();
  if (Date.now() - announced > 10000 || (state.ended !== null && announced)) {
    announced = state.ended !== null ? 0 : Date.now();
    $('status').textContent = `${number(done)}${size > done ? ` of ${number(size)}` : ''} done, ${number(failed)} failed${state.ended !== null ? ', the run has ended' : ''}`;
  }
};
const showDetails = () => { showRate(); showHeat(); showCdf(); showFailures(); showSlowest(); showLatency(); };
const redraw = () => {
  if (!state) return;
  showState();
  if (details) showDetails();
  if (embedded) showLanes();
};
let resizing = 0;
addEventListener('resize', () => { clearTimeout(resizing); resizing = setTimeout(redraw, 100); });
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);

let lost = false;
if (embedded) {
  state = embedded.state;
  gates.push(...state.gates);
  details = embedded.details[''];
  $('stage').addEventListener('change', () => { details = embedded.details[wanted()]; redraw(); });
  inflate().then(() => {
    redraw();
    showReport();
    document.documentElement.dataset.ready = 'yes';
  });
  return;
}

// The live page.
const hash = location.hash.slice(1);
if (hash) {
  sessionStorage.setItem('falco-key', hash);
  history.replaceState(null, '', location.pathname);
}
const ask = async path => {
  const answer = await fetch(path, { headers: { authorization: `Bearer ${sessionStorage.getItem('falco-key') || ''}` } });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
};
let seq = 0, asked = 0, over = false, refused = false, timer = 0;
const poll = async () => {
  clearTimeout(timer);
  if (document.hidden || refused) return;
  try {
    const next = await ask(`/api/v1/state?since=${seq}`);
    if (next.seq < seq) { location.reload(); return; }
    lost = false;
    if (seq === 0) gates.length = 0;
    for (const gate of next.gates) if (!gates.length || gate.t > gates.at(-1).t) gates.push(gate);
    if (gates.length > 1200) gates.splice(0, 600);
    addRecent(next.recent);
    state = next; seq = next.seq;
    if (Date.now() - asked > 3000 || (state.ended !== null && !over)) {
      asked = Date.now();
      details = await ask(`/api/v1/details?stage=${encodeURIComponent(wanted())}`);
      showState(); showDetails();
      document.documentElement.dataset.ready = 'yes';
    } else showState();
    over = state.ended !== null;
  } catch (error) {
    if (error instanceof TypeError) {
      lost = true;
      say(over ? 'The run has ended, and its process with it. These are its last numbers.' : 'The run does not answer. Its process may have ended; trying again.');
    } else {
      refused = /key/.test(error.message);
      say(error.message);
      document.documentElement.dataset.ready = 'yes';
    }
  }
  timer = setTimeout(poll, over ? 3000 : 500);
};
document.addEventListener('visibilitychange', () => { if (!document.hidden) poll(); });
$('stage').addEventListener('change', () => { asked = 0; seen.length = 0; poll(); });
$('heat-help').hidden = false;
let listing = null;
const list = async more => {
  try {
    const page = await ask(`/api/v1/calls?${listing}${more ? `&after=${more}` : ''}`);
    calls = more ? calls.concat(page.calls) : page.calls;
    $('calls-more').hidden = page.next === null;
    $('calls-more').onclick = () => list(page.next);
    $('h-calls').textContent = `${number(calls.length)} calls${page.next === null ? '' : ' so far'}`;
    table($('calls-table'), 'Calls of the spot', CALLS, calls.map(callRow));
  } catch (error) {
    $('h-calls').textContent = error.message;
    fill($('calls-table'));
    $('calls-more').hidden = true;
  }
  $('calls').hidden = false;
  $('h-calls').focus();
};
$('heat').addEventListener('click', event => {
  if (!heatArea.rows) return;
  const { low, across, up, wide, rows, width, height } = heatArea, box = $('heat').getBoundingClientRect();
  const x = (event.clientX - box.left - LEFT) / (width - LEFT), y = (height - BOTTOM - (event.clientY - box.top)) / (height - BOTTOM);
  if (x < 0 || y < 0) return;
  const column = Math.floor(x * across), r = low + Math.floor(y * up);
  const range = { stage: wanted(), from: column * wide, to: (column + 1) * wide, min_ms: r ? rows[r] : 0, max_ms: rows[r + 1] ?? '' };
  listing = new URLSearchParams(range).toString();
  list(0);
});
$('calls-close').addEventListener('click', () => { $('calls').hidden = true; });
poll();
})();
