// mulberry32: small, seeded, and good enough to throw darts.
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// Each line of the input is a seed and how many darts to throw.
async function main(args) {
  const all = { inside: 0, samples: 0 };
  for await (const line of args.input.lines()) {
    const [seed, samples] = line.toString().trim().split(/\s+/).map(Number);
    if (!Number.isInteger(seed) || !Number.isInteger(samples)) {
      throw new TypeError(`not a seed and a number of darts: ${line.toString().trim()}`);
    }
    const next = random(seed);
    let inside = 0;
    for (let i = 0; i < samples; i++) {
      const x = next();
      const y = next();
      if (x * x + y * y <= 1) inside++;
    }
    all.inside += inside;
    all.samples += samples;
    args.out.write(`${JSON.stringify({ seed, inside, samples })}\n`);
  }
  return { ...all, out: await args.out.close() };
}
