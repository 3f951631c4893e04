// A PostgreSQL with pgvector on loopback, for tests and benchmarks:  npm install && node server.mjs PORT [FOLDER]
// With PORT 0 the system chooses one. Data are in FOLDER, or in memory. Prints "ready PORT" when it accepts connections.
// Connect with
// Host=127.0.0.1;Port=PORT;Username=postgres;Password=x;Database=postgres;SSL Mode=Disable;No Reset On Close=true
import { PGlite } from '@electric-sql/pglite';
import { PGLiteSocketServer } from '@electric-sql/pglite-socket';
import { vector } from '@electric-sql/pglite-pgvector';

// Debian 12's Node, 18, lacks what the socket server wants.
globalThis.CustomEvent ??= class extends Event {
  constructor(type, { detail } = {}) {
    super(type);
    this.detail = detail;
  }
};

const [port, folder] = process.argv.slice(2);
const withVector = process.env.WITHOUT_VECTOR === undefined;
const db = await PGlite.create({ dataDir: folder, extensions: withVector ? { vector } : {} });
if (withVector) await db.exec('create extension if not exists vector');

// PGlite takes a message at a time, and COPY … FROM STDIN reads its data from the one that it is in: the whole of it is
// handed over at its end.
const execute = db.execProtocolRawStream.bind(db);
let copying = null;
db.execProtocolRawStream = async (message, options) => {
  const kind = String.fromCharCode(message[0]);
  if (kind === 'Q' && /^copy\s.*from\s+stdin/is.test(Buffer.from(message.subarray(5)).toString())) {
    copying = [message];
    options.onRawData(Buffer.from([0x47, 0, 0, 0, 7, 1, 0, 0])); // CopyInResponse: binary
  } else if (copying !== null && 'dcf'.includes(kind)) {
    copying.push(message);
    if (kind === 'd') return;
    const answers = [], all = Buffer.concat(copying);
    copying = null;
    await execute(new Uint8Array(all), { ...options, onRawData: answer => answers.push(Buffer.from(answer)) });
    const answer = Buffer.concat(answers);
    options.onRawData(answer[0] === 0x47 ? answer.subarray(1 + answer.readInt32BE(1)) : answer);
  } else await execute(message, options);
};

const server = new PGLiteSocketServer({ db, host: '127.0.0.1', port: Number(port ?? 5544), maxConnections: 10 });
server.addEventListener('listening', event => console.log(`ready ${event.detail?.port ?? port}`));
await server.start();
process.on('SIGTERM', async () => {
  await server.stop();
  await db.close();
  process.exit(0);
});
