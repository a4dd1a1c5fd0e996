// All calls of a timeline, out of columns of bytes: see columns.rs.
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
    let ended = 0;
    const last = at + planes[lane] + planes[count + lane] * 256 + planes[2 * count + lane] * 65536 + planes[3 * count + lane] * 16777216;
    for (; at < last; at++) {
      const code = d0[at] | d1[at] << 8, exponent = code < 512 ? 0 : (code >> 8) - 1, unit = 2 ** exponent;
      const ticks = (code - (exponent << 8)) * unit;
      const gap = g0[at] + g1[at] * 256 + g2[at] * 65536 + g3[at] * 16777216 + g4[at] * 4294967296;
      const begun = ended + (gap % 2 ? -(gap + 1) / 2 : gap / 2) * unit;
      ended = begun + ticks;
      start[at] = begun / 100;
      took[at] = ticks / 100;
      if (took[at] > longest[lane]) longest[lane] = took[at];
      if (kind[at] === 2) hasFailed = true;
    }
  }
  first[count] = at;
  whole = { calls: n, lanes: count, byInstance, span, start, took, kind, stage, first, longest, hasFailed };
};

