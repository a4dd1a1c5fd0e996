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
// Showing the histogram of whole invocations, in bars of a row of the heat map each.
const showHistogram = () => {
  const points = details.cdf.total, rows = details.heat.rows, counts = new Array(rows.length).fill(0);
  let row = 0, low = rows.length, high = -1;
  for (const [ms, count] of points) {
    while (row + 1 < rows.length && rows[row + 1] <= ms) row++;
    counts[row] += count;
    low = Math.min(low, row); high = row;
  }
  const area = canvas($('histogram')), { paint, width, height } = area;
  if (high < 0) return;
  const wide = (width - LEFT) / (high - low + 1), top = Math.max(...counts);
  paint.textAlign = 'right';
  for (const at of steps(0, top, 4).filter(Number.isInteger)) {
    const y = height - BOTTOM - at / top * (height - BOTTOM - 8);
    paint.strokeStyle = color('grid');
    paint.beginPath(); paint.moveTo(LEFT, y); paint.lineTo(width, y); paint.stroke();
    paint.fillStyle = color('quiet');
    paint.fillText(number(at), LEFT - 6, y + 4);
  }
  paint.fillStyle = color('warm');
  for (let at = low; at <= high; at++) {
    const tall = counts[at] / top * (height - BOTTOM - 8);
    paint.fillRect(LEFT + (at - low) * wide, height - BOTTOM - tall, Math.max(1, wide - 1), tall);
  }
  paint.textAlign = 'center';
  paint.fillStyle = color('quiet');
  const every = Math.max(1, Math.ceil(70 / wide));
  for (let at = low; at <= high; at += every) {
    const x = LEFT + (at - low) * wide;
    if (x > LEFT + 14 && x < width - 24) paint.fillText(time(rows[at]), x, height - 5);
  }
  const most = counts.indexOf(top);
  $('histogram').setAttribute('aria-label', `Invocations by how long they took, from ${time(rows[low])} to ${time(points.at(-1)[0])}; most, ${number(top)}, from ${time(rows[most])}${rows[most + 1] ? ` to ${time(rows[most + 1])}` : ''}`);
};
