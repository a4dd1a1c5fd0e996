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
let seq = 0, asked = 0, over = false, refused = false, timer = 0, isLoading = false;
const loadWhole = async () => {
  isLoading = true;
  try { await load(await ask('/api/v1/timeline')); showLanes(); } catch { isLoading = false; /* The latest calls stay until the next poll. */ }
};
const poll = async () => {
  clearTimeout(timer);
  if (document.hidden || refused) return;
  try {
    const next = await ask(`/api/v1/state?since=${seq}${gates.length ? `&t=${gates.at(-1).t}` : ''}`);
    if (next.seq < seq) { location.reload(); return; }
    lost = false;
    addGates(next);
    addRecent(next.recent);
    state = next; seq = next.seq;
    if (Date.now() - asked > 3000 || (state.ended !== null && !over)) {
      asked = Date.now();
      details = await ask(`/api/v1/details?stage=${encodeURIComponent(wanted())}`);
      showState(); showDetails();
      document.documentElement.dataset.ready = 'yes';
    } else showState();
    over = state.ended !== null;
    if (over && state.file && !isLoading) loadWhole();
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
$('stage').addEventListener('change', () => { asked = 0; seen.length = 0; heatArea.view = null; if (whole) showLanes(); poll(); });
$('heat-click').hidden = false;
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
  if (!heatArea.rows || $('heat').wasDragged) return;
  const { first, low, across, up, wide, rows, width, height } = heatArea, box = $('heat').getBoundingClientRect();
  const x = (event.clientX - box.left - LEFT) / (width - LEFT), y = (height - BOTTOM - (event.clientY - box.top)) / (height - BOTTOM);
  if (x < 0 || y < 0) return;
  const column = first + Math.floor(x * across), r = low + Math.floor(y * up);
  const range = { stage: wanted(), from: column * wide, to: (column + 1) * wide, min_ms: r ? rows[r] : 0, max_ms: rows[r + 1] ?? '' };
  listing = new URLSearchParams(range).toString();
  list(0);
});
$('calls-close').addEventListener('click', () => { $('calls').hidden = true; });
poll();
})();
