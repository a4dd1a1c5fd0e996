const childProcess = require('child_process');
const fs = require('fs');

const HALF = '\ud83d';

class NoRows extends Error {}

const circle = {};
circle.value = circle;

const cases = {
  object: () => ({ a: 1, b: { c: [true, null, 1.5, 'ä€😀\n'] } }),
  empty: () => ({}),
  separators: (args) => ({ text: args.text, length: args.text.length }),
  big: (args) => ({ value: 'x'.repeat(args.length) }),
  nothing: () => undefined,
  null: () => null,
  list: () => [{ error: 1 }],
  string: () => 'text',
  unwritable: () => ({ value: 10n }),
  circle: () => circle,
  nan: () => ({ rows: [1, NaN] }),
  infinity: () => ({ rows: { low: -Infinity } }),
  half_value: () => ({ value: [HALF] }),
  half_key: () => ({ [HALF]: 1 }),
  backslashes: () => ({ value: '\\ud83d null', none: null }),
  error_text: () => ({ rows: 3, error: 'no rows' }),
  error_null: () => ({ rows: 3, error: null }),
  error_object: () => ({ error: { name: 'NoRows', message: 'no rows', stack: 'in the cellar' } }),
  error_half: () => ({ error: `not a picture: ${HALF}` }),
  error_number: () => ({ error: { code: 7 } }),
  raise_builtin: () => {
    throw new RangeError('bad value');
  },
  raise_class: () => {
    throw new NoRows('no rows');
  },
  raise_silently: () => {
    throw new NoRows();
  },
  raise_half: () => {
    throw new Error(`not a picture: ${HALF}`);
  },
  raise_chained: () => {
    throw new NoRows('no rows', { cause: new TypeError('cause') });
  },
  raise_text: () => {
    throw 'no rows';
  },
  raise_nothing: () => {
    throw undefined;
  },
  raise_mute: () => {
    throw {
      get message() {
        throw new Error('no words');
      },
    };
  },
  reject: () => Promise.reject(new NoRows('no rows')),
  reject_null: () => Promise.reject(null),
  asynchronous: async () => {
    await new Promise((done) => setTimeout(done, 10));
    return { awaited: true };
  },
  never: () => new Promise(() => {}),
  print_much: () => {
    for (let line = 0; line < 2000; line += 1) {
      console.log('line '.repeat(20));
      console.error('line '.repeat(20));
    }
    return {};
  },
  print_endlessly: () => {
    for (;;) {
      console.log('line '.repeat(20));
      console.error('line '.repeat(20));
    }
  },
  trace: () => ({ trace: process.env.TRACEPARENT ?? null }),
  print_closed: () => {
    fs.closeSync(1);
    fs.closeSync(2);
    console.log('lost');
    return {};
  },
  print_child: () => {
    childProcess.execFileSync('/bin/sh', ['-c', 'echo out; echo err >&2'], { stdio: 'inherit' });
    return {};
  },
  change_directory: () => {
    process.chdir('/');
    return {};
  },
  stdin: () => ({ read: fs.readFileSync(0, 'utf8') }),
  exit_at_once: () => process.exit(3),
  die_later: () => {
    const command = `sleep 0.3; kill -9 ${process.pid}`;
    childProcess.spawn('/bin/sh', ['-c', command], { detached: true, stdio: 'ignore' }).unref();
    return {};
  },
  slow: async (args) => {
    await new Promise((done) => setTimeout(done, 20));
    return { n: args.n };
  },
};

function main(args) {
  return cases[args.case](args);
}
