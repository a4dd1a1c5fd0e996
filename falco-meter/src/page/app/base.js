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
// The latest calls of a live run, and all calls of a report or of a run that has ended.
const lanes = { start: [], took: [], lane: [], kind: [], stage: [], view: null };
let whole = null;
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
// Calls `done` with the corners of a rectangle that was dragged over a canvas.
const dragged = (node, done) => {
  let down = null;
  const mark = node.parentElement.querySelector('.mark');
  const place = event => {
    const box = node.getBoundingClientRect();
    return [Math.max(LEFT, Math.min(box.width, event.clientX - box.left)), Math.max(0, Math.min(box.height - BOTTOM, event.clientY - box.top))];
  };
  const end = () => { down = null; mark.hidden = true; };
  node.addEventListener('pointerdown', event => {
    if (event.button) return;
    down = place(event);
    node.wasDragged = false;
    if (event.isTrusted) node.setPointerCapture(event.pointerId);
  });
  node.addEventListener('pointermove', event => {
    if (!down) return;
    const at = place(event);
    mark.hidden = false;
    for (const [side, start, size, axis] of [['left', 'left', 'width', 0], ['top', 'top', 'height', 1]]) {
      mark.style[start] = `${Math.min(down[axis], at[axis])}px`;
      mark.style[size] = `${Math.abs(down[axis] - at[axis])}px`;
    }
  });
  node.addEventListener('pointercancel', end);
  node.addEventListener('pointerup', event => {
    if (!down) return;
    const from = down, to = place(event);
    end();
    if (Math.abs(to[0] - from[0]) < 6 && Math.abs(to[1] - from[1]) < 6) return;
    node.wasDragged = true;
    done(Math.min(from[0], to[0]), Math.min(from[1], to[1]), Math.max(from[0], to[0]), Math.max(from[1], to[1]));
  });
};
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

