// A PostgreSQL with pgvector on loopback, for tests and benchmarks:  npm install && node server.mjs PORT [FOLDER]
// With PORT 0 the system chooses one. Data are in FOLDER, or in memory. Prints "ready PORT" when it accepts connections. Connect with
// Host=127.0.0.1;Port=PORT;Username=postgres;Password=x;Database=postgres;SSL Mode=Disable;No Reset On Close=true
import { PGlite } from '@electric-sql/pglite';
import { PGLiteSocketServer } from '@electric-sql/pglite-socket';
import { vector } from '@electric-sql/pglite-pgvector';

const [port, folder] = process.argv.slice(2);
const withVector = process.env.WITHOUT_VECTOR === undefined;
const db = await PGlite.create({ dataDir: folder, extensions: withVector ? { vector } : {} });
if (withVector) await db.exec('create extension if not exists vector');
const server = new PGLiteSocketServer({ db, host: '127.0.0.1', port: Number(port ?? 5544), maxConnections: 10 });
server.addEventListener('listening', event => console.log(`ready ${event.detail?.port ?? port}`));
await server.start();
process.on('SIGTERM', async () => {
  await server.stop();
  await db.close();
  process.exit(0);
});
