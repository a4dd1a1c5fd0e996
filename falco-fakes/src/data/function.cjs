const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function main(args) {
  const { do: what, input, out } = args;
  switch (what) {
    case 'read':
      return { text: (await input.read()).toString() };
    case 'read_late': {
      const { until } = input.references[0];
      while (Date.now() / 1000 <= until + 1) await sleep(20);
      return { text: (await input.read()).toString() };
    }
    case 'write':
      out.write(args.text);
      return { out: await out.close() };
    case 'count':
      for await (const line of input.lines()) {
        for (const word of line.toString().split(/\s+/)) if (word !== '') out.emit(word, 1);
      }
      return { out: await out.close() };
    case 'total': {
      const counts = {};
      for await (const [key, values] of args.in.groups()) {
        counts[key] = 0;
        for (const value of values) counts[key] += value;
      }
      return { counts };
    }
    case 'repeat':
      return { text: args.text.repeat(args.times), exact: args.exact };
    case 'all': {
      const text = (await input.read()).toString();
      out.write(text);
      return { out: await out.close(), text: text + args.text };
    }
    default:
      throw new Error(`the suite does not know ${what}`);
  }
}
