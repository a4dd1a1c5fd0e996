// Where a key moves a view to.
const keyed = (pressed, from, to, length, middle) => ({
  ArrowLeft: [from - length / 5, to - length / 5], ArrowRight: [from + length / 5, to + length / 5],
  '+': [middle - length / 4, middle + length / 4], '=': [middle - length / 4, middle + length / 4],
  '-': [middle - length, middle + length], '−': [middle - length, middle + length],
})[pressed];

// The heat map.
const heatArea = { view: null };
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
  let first = 0;
  low = Math.max(0, low - 1); high = Math.min(rows.length - 1, high + 1);
  heatArea.all = [0, (lastColumn + 1) * wide, low, high];
  if (heatArea.view) {
    // In time, since columns are merged when the run gets longer.
    const [from, to, bottom, top] = heatArea.view;
    first = Math.min(lastColumn, Math.floor(from / wide));
    lastColumn = Math.max(first, Math.min(lastColumn, Math.ceil(to / wide) - 1));
    low = bottom; high = top;
  }
  $('heat-all').hidden = !heatArea.view;
  const across = lastColumn - first + 1, up = high - low + 1;
  const cw = (width - LEFT) / across, ch = (height - BOTTOM) / up;
  const x = column => LEFT + (column - first) * cw, y = r => height - BOTTOM - (r - low + 1) * ch;
  Object.assign(heatArea, { first, low, high, across, up, wide, rows, width, height });
  for (const [cells, name] of classes) {
    const paintIn = rgb(name);
    for (let at = 0; at < cells.length; at += 2) {
      const c = cells[at] % columns, r = Math.floor(cells[at] / columns);
      if (c < first || c > lastColumn || r < low || r > high) continue;
      const strength = 0.35 + 0.65 * Math.log1p(cells[at + 1]) / Math.log1p(most);
      paint.fillStyle = `rgba(${paintIn.join(',')},${strength})`;
      paint.fillRect(x(c), y(r), Math.max(1, cw - (cw > 4 ? 0.5 : 0)), Math.max(1.5, ch - (ch > 4 ? 0.5 : 0)));
    }
  }
  paint.textAlign = 'right';
  paint.fillStyle = color('quiet');
  const every = Math.max(1, Math.ceil(18 / ch));
  for (let r = low; r <= high; r += every) paint.fillText(time(rows[r]), LEFT - 6, Math.min(height - BOTTOM, y(r) + ch));
  axisX(area, first * wide, (lastColumn + 1) * wide, t => LEFT + (t / wide - first) * cw);
  key($('heat-key'), [['warm', `succeeded, warm or not known (${number(counts.warm)})`], ['cold', `succeeded after a cold start (${number(counts.cold)})`], ['failed', `failed (${number(counts.failed)})`]]);
  node.setAttribute('aria-label', `Calls by when they were sent and how long they took: ${number(counts.warm)} succeeded, ${number(counts.cold)} after a cold start, ${number(counts.failed)} failed; shown are those that took ${time(rows[low])} to ${time(rows[high])} and were sent from ${time(first * wide)} to ${time((lastColumn + 1) * wide)}`);
};
const moveHeat = (from, to, low, high) => {
  const [start, end, bottom, top] = heatArea.all, length = Math.max(2 * heatArea.wide, Math.min(to - from, end - start));
  from = Math.max(start, Math.min(from, end - length));
  low = Math.max(bottom, low); high = Math.min(top, Math.max(high, low + 1));
  const isAll = from <= start && from + length >= end && low <= bottom && high >= top;
  heatArea.view = isAll ? null : [from, from + length, low, high];
  showHeat();
};
const heatView = () => heatArea.view || heatArea.all;
dragged($('heat'), (x0, y0, x1, y1) => {
  if (!heatArea.rows) return;
  const { first, low, across, up, wide, width, height } = heatArea;
  const time = x => (first + (x - LEFT) / (width - LEFT) * across) * wide, row = y => low + Math.floor((height - BOTTOM - y) / (height - BOTTOM) * up);
  moveHeat(time(x0), time(x1), row(y1), row(y0));
  if (whole) moveLanes(time(x0), time(x1));
});
$('heat').addEventListener('keydown', event => {
  if (!heatArea.all) return;
  const [from, to, low, high] = heatView(), length = to - from, middle = (from + to) / 2;
  const range = keyed(event.key, from, to, length, middle);
  if (event.key === '0') moveHeat(...heatArea.all); else if (range) moveHeat(...range, low, high); else return;
  event.preventDefault();
});
$('heat').addEventListener('dblclick', () => heatArea.all && moveHeat(...heatArea.all));
$('heat-all').addEventListener('click', () => { moveHeat(...heatArea.all); $('heat').focus(); });

