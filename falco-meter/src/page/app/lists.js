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
    if (!failure.log.length && failure.log_cut) item.append(make('p', 'Its log was left out: the run keeps no more of them.', 'quiet'));
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
const showSlowest = () => {
  const { slowest, settled } = details;
  $('slowest-about').textContent = slowest.length < settled ? `The slowest ${number(slowest.length)} of ${number(settled)} invocations.` : `All ${number(settled)} invocations, slowest first.`;
  table($('slowest'), 'Slowest invocations', CALLS, slowest.map(callRow));
};
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
  table($('cost'), 'Cost', ['stage', 'outcome of the call', 'calls', 'first calls', 'repeats', 'copies of slow ones', 'in all', 'estimated calls'],
    cost.map(c => [c.stage, wide(c.outcome), number(c.calls), money(c.first), money(c.repeats), money(c.copies), money(c.usd), c.estimated === null ? '' : number(c.estimated)]));
  $('containers-section').hidden = !containers.length;
  $('containers-about').textContent = embedded.containers_total > containers.length ? `${number(containers.length)} of ${number(embedded.containers_total)} instances, the busiest first.` : `All ${number(containers.length)} instances, the busiest first.`;
  table($('containers'), 'Instances', ['instance', 'stage', 'calls', 'busy', 'from', 'to', 'failed'],
    containers.map(c => [c.id, c.stage, number(c.calls), time(c.busy), time(c.from), time(c.to), number(c.failed)]));
};
