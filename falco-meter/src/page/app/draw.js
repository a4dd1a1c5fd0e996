// Drawing it all.
let announced = 0;
const showState = () => {
  showHead();
  const { done, failed, size } = showFigures();
  showStages(); showLatency(); showFlight(); showCongestion(); showNotes();
  if (!whole) showLanes();
  if (Date.now() - announced > 10000 || (state.ended !== null && announced)) {
    announced = state.ended !== null ? 0 : Date.now();
    $('status').textContent = `${number(done)}${size > done ? ` of ${number(size)}` : ''} done, ${number(failed)} failed${state.ended !== null ? ', the run has ended' : ''}`;
  }
};
const showDetails = () => { showRate(); showHeat(); showCdf(); showHistogram(); showFailures(); showSlowest(); showLatency(); };
const redraw = () => {
  if (!state) return;
  showState();
  if (details) showDetails();
  if (whole) showLanes();
};
let resizing = 0;
addEventListener('resize', () => { clearTimeout(resizing); resizing = setTimeout(redraw, 100); });
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);

let lost = false;
if (embedded) {
  state = embedded.state;
  addGates(state);
  details = embedded.details[''];
  $('stage').addEventListener('change', () => { details = embedded.details[wanted()]; heatArea.view = null; redraw(); });
  load(embedded.timeline).then(() => {
    redraw();
    showReport();
    document.documentElement.dataset.ready = 'yes';
    // For the benchmark: since the file was opened.
    document.documentElement.dataset.drawn = Math.round(performance.now());
  });
  return;
}

