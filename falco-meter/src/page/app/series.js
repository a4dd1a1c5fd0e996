const gates = [], controls = new Map();
const addGates = next => {
  const add = (to, samples) => {
    for (const gate of samples) if (!to.length || gate.t > to.at(-1).t) to.push(gate);
    if (to.length > 2400) to.splice(0, 1200);
  };
  add(gates, next.gates);
  for (const { name, samples } of next.controls) {
    if (!controls.has(name)) controls.set(name, []);
    add(controls.get(name), samples);
  }
};
const DASHES = [[5, 4], [2, 3], [8, 3, 2, 3]];
const ofControls = (what, paint, take) => [...controls].map(([name, samples], index) => ({
  name: controls.size > 1 ? `${what} of ${name}` : what, color: paint, dash: DASHES[index % 3],
  points: take(samples).filter(point => point[1] !== undefined),
})).filter(set => set.points.length);
const refusals = samples => samples.slice(1).map((g, at) => [g.t, (g.refused - samples[at].refused) / Math.max(1, g.t - samples[at].t) * 1000]);
const showCongestion = () => {
  const sets = [...ofControls('rate allowed', 'warm', samples => samples.map(g => [g.t, g.rate])), ...ofControls('refused by the platform', 'failed', refusals)];
  $('congestion-section').hidden = !sets.length;
  if (!sets.length) return;
  lines($('congestion'), sets, 'Calls per second');
  key($('congestion-key'), sets.map(set => [set.color, set.name]));
  const text = [...controls].map(([name, samples]) => {
    const last = samples.at(-1);
    return `${name}: ${last.window === undefined ? 'no limit on what is in flight' : `${number(last.window)} may be in flight`}, ${last.rate === undefined ? 'no limit on the rate' : `${number(last.rate)} may start per second`}, ${number(last.refused || 0)} refused in all${last.shut ? ', nothing passes at the moment' : ''}.`;
  });
  $('congestion-about').textContent = text.join(' ');
};
const showFlight = () => {
  const sets = [{ name: 'in flight', color: 'warm', points: gates.map(g => [g.t, g.fly]) }];
  sets.push(...ofControls('window', 'limit', samples => samples.map(g => [g.t, g.window])));
  if (gates.some(g => g.wait)) sets.push({ name: 'waiting', color: 'queue', points: gates.map(g => [g.t, g.wait]) });
  lines($('flight'), sets, 'Invocations in flight');
  key($('flight-key'), sets.map(set => [set.color, set.name]));
  if (!gates.length) $('flight').setAttribute('aria-label', 'The run was too short for a sample of what was in flight');
};
const showRate = () => {
  const { width, settled, failed, refused } = details.series, rate = points => points.map((n, at) => [(at + 1) * width, n / width * 1000]);
  const sets = [{ name: 'done', color: 'warm', points: rate(settled) }, { name: 'failed', color: 'failed', points: rate(failed) }, { name: 'throttled', color: 'cold', dash: [5, 4], points: rate(refused) }]
    .filter((set, index) => !index || set.points.length);
  lines($('rate'), sets, 'Invocations per second');
  key($('rate-key'), sets.map(set => [set.color, set.name]));
};

