// figures.mjs PAGE [--out FOLDER] [FIGURE …]: called by figures.sh.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import * as vega from 'vega';
import { compile } from 'vega-lite';

const [page, ...rest] = process.argv.slice(2);
const option = rest.indexOf('--out');
const [, folder] = option < 0 ? ['', dirname(page)] : rest.splice(option, 2);
const found = readFileSync(page, 'utf8').match(/<script type="application\/json" id="data">(.*?)<\/script>/s);
if (!found) throw new Error(`${page} is no page of figures`);
const data = JSON.parse(found[1]);
const width = 720;
mkdirSync(folder, { recursive: true });
for (const name of rest.length ? rest : Object.keys(data.figures)) {
  const spec = data.figures[name];
  if (!spec) throw new Error(`${page} has no figure ${name}: ${Object.keys(data.figures).join(', ')}`);
  if ((spec.mark || spec.layer) && (spec.width === undefined || spec.width === 'container')) {
    const [a, b] = spec.usermeta?.height ?? [];
    Object.assign(spec, { width }, a === undefined ? {} : { height: Math.round(a * width + b) });
  }
  const view = new vega.View(vega.parse(compile(spec, { config: data.theme }).spec), { renderer: 'none' });
  writeFileSync(join(folder, `${name}.svg`), `${await view.toSVG()}\n`);
  console.log(join(folder, `${name}.svg`));
}
