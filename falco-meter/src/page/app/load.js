// All calls of a timeline, out of columns of bytes: see columns.rs.
const UNITS = Float64Array.from({ length: 64 }, (_, exponent) => 2 ** exponent);
const load = async ({ calls: n, lanes: count, by_instance: byInstance, span, columns }) => {
  const bytes = Uint8Array.fromBase64 ? Uint8Array.fromBase64(columns) : (() => {
    const raw = atob(columns), all = new Uint8Array(raw.length);
    for (let at = 0; at < raw.length; at++) all[at] = raw.charCodeAt(at);
    return all;
  })();
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer()), base = 4 * count;
  const plane = index => planes.subarray(base + index * n, base + (index + 1) * n);
  const [d0, d1, g0, g1, g2, g3, g4, stage, kind] = [0, 1, 2, 3, 4, 5, 6, 7, 8].map(plane);
  const start = new Float64Array(n), took = new Float64Array(n), first = new Uint32Array(count + 1), longest = new Float64Array(count);
  let at = 0, hasFailed = false;
  for (let lane = 0; lane < count; lane++) {
    first[lane] = at;
    let ended = 0, long = 0;
    const last = at + planes[lane] + planes[count + lane] * 256 + planes[2 * count + lane] * 65536 + planes[3 * count + lane] * 16777216;
    for (; at < last; at++) {
      const code = d0[at] | d1[at] << 8, exponent = code < 512 ? 0 : (code >> 8) - 1, unit = UNITS[exponent];
      const ticks = (code - (exponent << 8)) * unit;
      // Whole numbers of 32 bits as far as possible: they are much quicker.
      const low = g0[at] | g1[at] << 8 | g2[at] << 16, high = g3[at] | g4[at] << 8;
      const half = (low >> 1) + high * 8388608;
      const begun = ended + (low & 1 ? -half - 1 : half) * unit;
      ended = begun + ticks;
      start[at] = begun / 100;
      const length = took[at] = ticks / 100;
      if (length > long) long = length;
      if (kind[at] === 2) hasFailed = true;
    }
    longest[lane] = long;
  }
  first[count] = at;
  whole = { calls: n, lanes: count, byInstance, span, start, took, kind, stage, first, longest, hasFailed };
};

