// Draws the page's figures, moves the report's time slider and sorts the comparison's table. The page's data is in #data.
(() => {
  'use strict';
  const data = JSON.parse(document.getElementById('data').textContent);
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

  const config = data.theme, { font } = config;

  // A specification's usermeta.height = [a, b] asks for a height of a times the width, and b pixels.
  const heightOf = (spec, width) => {
    const rule = spec.usermeta && spec.usermeta.height;
    return rule ? Math.round(rule[0] * width + rule[1]) : undefined;
  };
  const isSingle = spec => (spec.mark || spec.layer) && !(spec.encoding && (spec.encoding.row || spec.encoding.column || spec.encoding.facet));

  const least = 100; // pixels; narrower is a layout in passing
  const views = new Map(); // figure's id -> Vega view

  async function draw(figure, original) {
    const box = $('.drawing', figure);
    if (typeof vegaEmbed === 'undefined') {
      box.textContent = 'The chart libraries could not be loaded: this page needs a network to draw its figures.';
      return;
    }
    const spec = { ...original };
    if (!spec.$schema) spec.$schema = 'https://vega.github.io/schema/vega-lite/v6.json';
    if (spec.width === undefined && isSingle(spec)) spec.width = 'container';
    // A square needs no more room than half the page.
    figure.classList.toggle('square', spec.usermeta?.height?.[0] >= .9);
    const height = heightOf(spec, box.clientWidth);
    if (height) Object.assign(spec, { height, autosize: { type: 'fit', contains: 'padding' } });
    else if (spec.width === 'container' && spec.autosize === undefined) spec.autosize = { type: 'fit-x', contains: 'padding' };
    if (!spec.description) spec.description = $('h3', figure).textContent;
    try {
      const old = views.get(figure.id);
      // Many marks are quicker on a canvas; few are sharper in print as SVG.
      const renderer = JSON.stringify(spec).length > 40000 ? 'canvas' : 'svg';
      const { view } = await vegaEmbed(box, spec, { mode: 'vega-lite', actions: false, renderer, config });
      if (old) old.finalize();
      views.set(figure.id, view);
      figure.dataset.drawn = 'true';
      if (spec.width === 'container') onResize(figure, view, original);
    } catch (error) {
      views.delete(figure.id);
      box.textContent = `This figure could not be drawn: ${error.message}`;
      console.error(`${figure.id}: ${error.message}`);
    }
  }

  function onResize(figure, view, spec) {
    const box = $('.drawing', figure);
    let width = box.clientWidth;
    figure.resizes?.disconnect();
    figure.resizes = new ResizeObserver(() => {
      if (box.clientWidth === width || box.clientWidth < least) return;
      width = box.clientWidth;
      view.width(width);
      const height = heightOf(spec, width);
      if (height) view.height(height);
      view.resize().runAsync();
    });
    figure.resizes.observe(box);
  }

  // ---- Saving ----------------------------------------------------------------------------------------------------
  function save(name, blob) {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(blob);
    link.download = name;
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  const toBlob = canvas => new Promise(done => canvas.toBlob(done, 'image/png'));

  async function picture(figure, kind) {
    const view = views.get(figure.id);
    if (view) return kind === 'svg' ? new Blob([await view.toSVG()], { type: 'image/svg+xml' }) : toBlob(await view.toCanvas(2));
    const drawing = $('.drawing svg', figure); // the circuit, drawn below
    if (!drawing) return null;
    const source = new XMLSerializer().serializeToString(drawing);
    if (kind === 'svg') return new Blob([source], { type: 'image/svg+xml' });
    const image = new Image();
    image.src = 'data:image/svg+xml;charset=utf-8,' + encodeURIComponent(source);
    await image.decode();
    const canvas = Object.assign(document.createElement('canvas'), { width: 2 * drawing.clientWidth, height: 2 * drawing.clientHeight });
    const pen = canvas.getContext('2d');
    pen.fillStyle = 'white';
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    return toBlob(canvas);
  }

  document.addEventListener('click', async event => {
    const button = event.target.closest('[data-save]');
    if (!button) return;
    const figure = button.closest('figure');
    const blob = await picture(figure, button.dataset.save);
    if (blob) save(`${figure.id}.${button.dataset.save}`, blob);
  });

  // ---- The circuit: s variables of κ cells, and what they contain at time t ------------------------------------------
  const colour = (value, limit) => {
    if (value === null || value === undefined) return '#d5d8dc';
    return vega.scheme('blueorange')(Math.min(1, Math.max(0, .5 + .5 * value / limit)));
  };

  const hasPhases = example => example.inputSteps > 0 && example.inputSteps < example.steps;

  function circuit(figure, s, kappa, limits) {
    const box = $('.drawing', figure);
    let example, cells, arrows, ghosts, steps;

    function build() {
      const width = box.clientWidth, d = Math.max(1, ...['inputs', 'outputs'].map(key => example[key]?.[0]?.length ?? 0));
      const pitch = Math.min(92, (width - 16) / (s + 2.4)), column = pitch * .58;
      const cell = Math.max(3, Math.min(20, 170 / Math.max(kappa, d))), top = 52;
      const tall = kappa * cell, bottom = top + tall, height = bottom + 66;
      const left = (width - (s + 2.4) * pitch) / 2 + (pitch - column) / 2;
      const at = i => left + i * pitch, middle = i => at(i) + column / 2;
      const input = s + .4, output = s + 1.4, last = s - 1;
      const parts = [];
      const draw = (name, attributes, inside = '') => parts.push(
        `<${name} ${Object.entries(attributes).map(([key, value]) => `${key}="${value}"`).join(' ')}>${inside}</${name}>`);
      const small = pitch < 40 ? 11 : 13, point = pitch < 40 ? 5 : 7;
      const label = (x, y, words, more = {}) => draw('text', { x, y, 'text-anchor': 'middle', 'font-size': small, fill: '#1b1f24', ...more }, words);
      const arrow = (path, kind) => draw('path', { d: path, 'data-arrow': kind, fill: 'none', stroke: '#1b1f24', 'stroke-width': 1.4, 'marker-end': 'url(#head)' });
      const stack = (i, count, kind, first) => {
        for (let k = 0; k < count; k++)
          draw('rect', { x: at(i), y: top + k * cell, width: column, height: cell, 'data-cell': kind, 'data-index': first + k, fill: '#fff', stroke: '#fff', 'stroke-width': cell > 5 ? .5 : 0 });
        draw('rect', { x: at(i), y: top, width: column, height: count * cell, fill: 'none', stroke: '#1b1f24', 'stroke-width': 1.2, 'data-box': kind });
      };
      const every = Math.ceil(16 / pitch);
      for (let i = 0; i < s; i++) {
        stack(i, kappa, 'contents', i * kappa);
        if (i % every === 0 || i === last) label(middle(i), bottom + 17, i + 1);
        if (i > 0) arrow(`M ${at(i) - 2} ${top + tall / 2} H ${at(i - 1) + column + 4}`, 'shift');
      }
      if (example.inputs) {
        stack(input, d, 'inputs', 0);
        label(middle(input), bottom + 17, 'u(t)');
        arrow(`M ${at(input) - 2} ${top + tall / 2} H ${at(last) + column + 4}`, 'input');
      }
      if (example.outputs) {
        stack(output, d, 'outputs', 0);
        label(middle(output), bottom + 17, 'y(t)');
        arrow(`M ${middle(last)} ${top - 3} V ${top - 22} H ${middle(output)} V ${top - 5}`, 'output');
        label((middle(last) + middle(output)) / 2, top - 28, 'output', { 'data-arrow': 'output' });
      }
      const base = bottom + 30;
      arrow(`M ${middle(0)} ${bottom + 22} V ${base} H ${middle(last)} V ${bottom + 24}`, 'f');
      label((middle(0) + middle(last)) / 2, base + 17, 'f, of all the variables', { 'data-arrow': 'f' });
      const head = `<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="${point}" markerHeight="${point}" orient="auto"><path d="M0 0 8 4 0 8z" fill="#1b1f24"/></marker></defs>`;
      box.innerHTML = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="${font.replaceAll('"', "'")}" role="img" aria-label="The variables' contents at the chosen time">${head}${parts.join('')}</svg>`;
      cells = $$('[data-cell]', box);
      arrows = $$('[data-arrow]', box);
      ghosts = $$('[data-box=inputs], [data-box=outputs]', box);
    }

    function show(t) {
      if (!cells) return;
      const phases = hasPhases(example), input = phases && t <= example.inputSteps, output = phases && !input;
      const faint = { input: output, f: input, output: input, shift: false };
      for (const cell of cells) {
        const kind = cell.dataset.cell;
        cell.setAttribute('fill', colour(example[kind]?.[t - 1]?.[cell.dataset.index], limits[kind]));
        if (kind !== 'contents') cell.setAttribute('opacity', faint[kind.slice(0, -1)] ? .3 : 1);
      }
      for (const arrow of arrows) arrow.setAttribute('opacity', faint[arrow.dataset.arrow] ? .2 : 1);
      for (const ghost of ghosts) ghost.setAttribute('stroke-opacity', faint[ghost.dataset.box.slice(0, -1)] ? .3 : 1);
      $('svg', box).dataset.time = t;
      steps = t;
    }

    new ResizeObserver(() => {
      if (!example || box.clientWidth < least || box.clientWidth === Number($('svg', box)?.getAttribute('width'))) return;
      build();
      show(steps);
    }).observe(box);

    figure.dataset.drawn = 'true';
    return { choose(next) { example = next; build(); }, show };
  }

  // ---- Time: one slider, play and pause, and the choice of the example -----------------------------------------------
  async function examples({ s, kappa, limits, list }) {
    const slider = $('#time'), out = $('#time-now'), play = $('#play'), choice = $('#example');
    const panel = $('#circuit') && typeof vega !== 'undefined' ? circuit($('#circuit'), s, kappa, limits) : null;
    const charts = $$('[data-example]');
    let example, timer = null, queue = Promise.resolve();

    function show() {
      const t = Number(slider.value), phase = !hasPhases(example) ? '' : t <= example.inputSteps ? ', input phase' : ', output phase';
      out.textContent = `t = ${t} of ${example.steps}${phase}`;
      slider.setAttribute('aria-valuetext', out.textContent);
      for (const { id } of charts) views.get(id)?.signal('t', t).runAsync();
      panel?.show(t);
    }

    async function choose(index) {
      // The page opens, and is printed, at the end of the input phase, when all variables are loaded.
      const first = !example;
      example = list[index];
      slider.max = example.steps;
      if (first) slider.value = hasPhases(example) ? example.inputSteps : 1;
      for (const chart of charts) {
        const drawing = example.figures[chart.id];
        chart.hidden = !drawing;
        if (!drawing) continue;
        $('figcaption', chart).textContent = drawing.caption;
        await draw(chart, drawing.spec);
      }
      if ($('#circuit')) $('#circuit').hidden = !(panel && example.contents);
      if (panel && example.contents) panel.choose(example);
      show();
    }

    function stop() {
      clearInterval(timer);
      timer = null;
      play.textContent = 'Play';
    }

    play.addEventListener('click', () => {
      if (timer) return stop();
      if (slider.value === slider.max) slider.value = 1;
      show();
      play.textContent = 'Pause';
      timer = setInterval(() => {
        slider.value = Number(slider.value) + 1;
        show();
        if (slider.value === slider.max) stop();
      }, 200);
    });
    slider.addEventListener('input', show);
    choice?.addEventListener('change', () => { stop(); queue = queue.then(() => choose(Number(choice.value))); });
    await (queue = choose(0));
  }

  // ---- The comparison's table ----------------------------------------------------------------------------------------
  for (const table of $$('table.sortable')) {
    const heads = $$('thead th', table);
    heads.forEach((head, column) => $('button', head)?.addEventListener('click', () => {
      const direction = head.getAttribute('aria-sort') === 'ascending' ? -1 : 1;
      heads.forEach(other => other.removeAttribute('aria-sort'));
      head.setAttribute('aria-sort', direction > 0 ? 'ascending' : 'descending');
      const numeric = head.classList.contains('number');
      const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => {
        const x = key(a), y = key(b);
        if (x === '' || y === '') return (x === '') - (y === ''); // rows without a value stay last
        return direction * (numeric ? x - y : x.localeCompare(y, 'en', { numeric: true }));
      });
      table.tBodies[0].append(...rows);
    }));
  }

  addEventListener('beforeprint', () => { for (const settings of $$('#settings')) settings.open = true; });

  (async () => {
    if (data.examples) await examples(data.examples);
    for (const figure of $$('[data-figure]')) await draw(figure, data.figures[figure.id]);
    document.documentElement.dataset.ready = 'true';
  })();
})();
