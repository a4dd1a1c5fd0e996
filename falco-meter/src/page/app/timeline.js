// The timeline: the last minute of a live run, or the whole of a report.
const KIND = { w: 0, c: 1, f: 2 };
const addRecent = recent => {
  for (const [stage, start, took, kind] of recent) {
    lanes.start.push(start); lanes.took.push(took); lanes.stage.push(stage); lanes.kind.push(KIND[kind]);
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
// The first place of a sorted part of a list whose value is not smaller.
const bisect = (list, value, low, high) => {
  while (low < high) { const middle = (low + high) >> 1; if (list[middle] < value) low = middle + 1; else high = middle; }
  return low;
};
const showLanes = () => {
  if (!whole && !lanes.start.length) return;
  const node = $('lanes'), area = canvas(node), { paint, width, height, scale } = area;
  const end = whole ? whole.span : state.now;
  const [from, to] = lanes.view || (whole ? [0, end] : [Math.max(0, end - 60000), Math.max(end, 1)]);
  if (!whole) pack(from);
  const count = whole ? whole.lanes : lanes.count;
  const only = wanted() ? state.stages.findIndex(stage => stage.name === wanted()) : -1;
  const w = Math.max(1, Math.round((width - LEFT) * scale)), h = Math.max(1, Math.round((height - BOTTOM) * scale));
  const image = paint.createImageData(w, h), pixels = new Uint32Array(image.data.buffer);
  const word = name => { const [r, g, b] = rgb(name); return (255 << 24 | b << 16 | g << 8 | r) >>> 0; };
  const paints = [word('warm'), word('cold'), word('failed')];
  const perLane = h / Math.max(1, count), thick = Math.max(1, Math.floor(perLane) - (perLane >= 3 ? 1 : 0));
  const times = w / (to - from);
  let shown = 0;
  // Paints the calls from at to last, excluding last, on one lane. A lane may have a thousand.
  const row = (calls, at, last, lane, pass) => {
    const { start, took, kind, stage } = calls;
    const y0 = Math.min(h - 1, Math.floor(lane * perLane)), y1 = Math.min(h, y0 + thick);
    for (; at < last && start[at] <= to; at++) {
      if ((kind[at] === 2) !== (pass === 1) || (only >= 0 && stage[at] !== only)) continue;
      const begun = start[at], stop = begun + took[at];
      if (stop < from) continue;
      shown++;
      const x0 = begun > from ? (begun - from) * times | 0 : 0, x1 = Math.min(w, Math.max(x0 + 1, Math.ceil((stop - from) * times)));
      const paint = paints[kind[at]];
      for (let y = y0; y < y1; y++) for (let x = y * w + x0, end = y * w + x1; x < end; x++) pixels[x] = paint;
    }
  };
  // What failed comes last, so that nothing hides it.
  for (let pass = 0; pass < 2; pass++) {
    if (!whole) {
      for (let at = 0; at < lanes.start.length; at++) if (lanes.lane[at] >= 0) row(lanes, at, at + 1, lanes.lane[at], pass);
      continue;
    }
    if (pass && !whole.hasFailed) break;
    for (let lane = 0; lane < whole.lanes; lane++) {
      const last = whole.first[lane + 1];
      row(whole, bisect(whole.start, from - whole.longest[lane], whole.first[lane], last), last, lane, pass);
    }
  }
  paint.putImageData(image, Math.round(LEFT * scale), 0);
  paint.textAlign = 'right';
  paint.fillStyle = color('quiet');
  const what = whole && whole.byInstance ? 'instances' : 'slots';
  paint.fillText(`${number(count)}`, LEFT - 6, 12);
  paint.fillText(what, LEFT - 6, 28);
  axisX(area, from, to, t => LEFT + (t - from) / (to - from) * (width - LEFT));
  key($('lanes-key'), [['warm', 'warm or not known'], ['cold', 'cold start'], ['failed', 'failed']]);
  const all = whole ? `${number(whole.calls)} calls` : `the latest ${number(lanes.start.length)} of ${number(state.seq)} calls`;
  $('lanes-help').textContent = whole
    ? `All ${all}, one line for each ${what === 'slots' ? 'slot, the first that is free' : 'instance, from when it took the call'}. Drag to zoom; arrow keys move, + and − zoom, 0 shows all.`
    : `The last minute, ${all}, packed into slots. ${state.file ? 'When the run has ended, all are shown.' : 'The report shows all.'}`;
  node.setAttribute('aria-label', `Timeline from ${time(from)} to ${time(to)}: ${number(shown)} of ${all}`);
  lanes.shown = [from, to, width];
};
const moveLanes = (from, to) => {
  const end = whole.span, length = Math.min(end, Math.max(0.05, to - from));
  from = Math.max(0, Math.min(from, end - length));
  lanes.view = [from, from + length];
  showLanes();
};
$('lanes').addEventListener('keydown', event => {
  if (!whole) return;
  const [from, to] = lanes.view || [0, whole.span];
  const range = event.key === '0' ? [0, whole.span] : keyed(event.key, from, to, to - from, (from + to) / 2);
  if (!range) return;
  event.preventDefault();
  moveLanes(...range);
});
$('lanes').addEventListener('dblclick', () => whole && moveLanes(0, whole.span));
dragged($('lanes'), (x0, y0, x1) => {
  if (!whole) return;
  const [from, to, width] = lanes.shown, at = x => from + (x - LEFT) / (width - LEFT) * (to - from);
  moveLanes(at(x0), at(x1));
});

