'use strict';
// Redraws the curves of the page as interactive ones: values under the pointer, logarithmic axis, smoothing, curves hidden
// and shown, steps or minutes. It replaces the static pictures, which work without a script.
(() => {
  const source = document.getElementById('data');
  if (!source) return;
  const { charts, epochs } = JSON.parse(source.textContent);
  const page = { minutes: false, smoothing: 0.8, hidden: new Set() };
  const LEFT = 58, RIGHT = 22, TOP = 20, BOTTOM = 36;
  // Shorter curves are read point by point; smoothing would only hide details.
  const SMOOTHED_FROM = 60;

  const make = (name, attributes, parent, text) => {
    const svg = ['svg', 'path', 'text', 'circle', 'rect', 'g'].includes(name);
    const node = svg ? document.createElementNS('http://www.w3.org/2000/svg', name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    if (parent) parent.append(node);
    return node;
  };

  const number = (value) => {
    if (value === 0) return '0';
    const size = Math.abs(value);
    if (size >= 1e7 || size < 1e-3) return value.toExponential(3).replace(/\.?0+e/, 'e');
    if (size >= 1000) return value.toFixed(0);
    return String(Number(value.toPrecision(4)));
  };

  const steps = (low, high, count) => {
    const rough = (high - low) / count;
    const size = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * size).find((one) => one >= rough) || size;
    const found = [];
    for (let i = Math.ceil(low / step); i * step <= high + step * 1e-9 && found.length < 30; i++) found.push(i * step);
    return found;
  };

  // Logarithmic: decades, and halves if there are few.
  const decades = (low, high) => {
    const found = [];
    const each = Math.max(1, Math.ceil((high - low) / 6));
    for (let power = Math.floor(low); power <= Math.ceil(high); power++) {
      for (const factor of high - low < 0.8 ? [1, 1.5, 2, 3, 4, 5, 6, 8] : high - low < 3 ? [1, 2, 5] : [1]) {
        const at = power + Math.log10(factor);
        if (at >= low && at <= high && power % each === 0) found.push(at);
      }
    }
    return found;
  };

  // The exponential mean, without the bias of its first value.
  const smooth = (values, weight) => {
    let sum = 0, total = 0;
    return values.map((value) => {
      if (value === null) return null;
      sum = sum * weight + value;
      total = total * weight + 1;
      return sum / total;
    });
  };

  const epochOf = (step) => {
    let low = 0, high = epochs.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (epochs[middle][0] < step) low = middle + 1; else high = middle;
    }
    return low < epochs.length ? epochs[low][1] : null;
  };

  const nearest = (places, at) => {
    let low = 0, high = places.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (places[middle] < at) low = middle + 1; else high = middle;
    }
    return low > 0 && at - places[low - 1] < places[low] - at ? low - 1 : low;
  };

  class Chart {
    constructor(figure) {
      this.data = charts[figure.dataset.chart];
      this.plot = figure.querySelector('.plot');
      this.hidden = new Set();
      this.log = false;
      const log = make('button', { type: 'button', class: 'log', 'aria-pressed': 'false' }, figure.querySelector('figcaption'), 'log');
      log.addEventListener('click', () => {
        this.log = !this.log;
        log.setAttribute('aria-pressed', this.log);
        this.draw();
      });
      const legend = figure.querySelector('.legend');
      legend.replaceChildren(...this.data.series.map((series) => {
        const key = make('button', { type: 'button', class: `key c${series.colour}${series.dashed ? ' dashed' : ''}`, 'aria-pressed': 'true' });
        make('i', {}, key);
        key.append(series.name);
        key.addEventListener('click', () => {
          const hide = !this.hidden.has(series.name);
          if (hide) this.hidden.add(series.name); else this.hidden.delete(series.name);
          key.setAttribute('aria-pressed', !hide);
          this.draw();
        });
        return key;
      }));
      this.width = 0;
      new ResizeObserver(() => {
        if (this.plot.clientWidth !== this.width) this.draw();
      }).observe(this.plot);
    }

    draw() {
      const minutes = page.minutes || this.data.minutes_only;
      const smoothing = this.data.minutes_only || this.data.exact ? 0 : page.smoothing;
      const along = (curve) => (minutes ? curve.t : curve.x);
      // Further apart, the difference of two values would be infinite.
      const bounded = (value) => Math.max(-1e300, Math.min(1e300, value));
      const scale = (value) => (value === null ? null : this.log ? (value > 0 ? Math.log10(value) : null) : bounded(value));
      const shown = this.data.series.filter((series) => !this.hidden.has(series.name) && !page.hidden.has(series.name));
      const curves = shown.map((series) => {
        const base = series.mean || series;
        const softened = smoothing > 0 && series.x.length >= SMOOTHED_FROM;
        const line = softened ? { x: base.x, t: base.t, y: smooth(base.y, smoothing) } : series;
        return { series, softened, line };
      });
      let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
      for (const { line, series } of curves) {
        const places = along(series);
        if (places.length) [x0, x1] = [Math.min(x0, places[0]), Math.max(x1, places[places.length - 1])];
        for (const value of line.y) {
          const at = scale(value);
          if (at !== null) [y0, y1] = [Math.min(y0, at), Math.max(y1, at)];
        }
      }
      if (x0 > x1) [x0, x1] = [0, 1];
      if (x0 === x1) [x0, x1] = [x0 - 1, x1 + 1];
      const empty = y0 > y1;
      if (empty) [y0, y1] = [0, 1];
      const room = y1 > y0 ? (y1 - y0) * 0.05 : Math.abs(y0) * 0.1 || 1;
      // Values that are never negative get no negative axis.
      const floor = !this.log && y0 >= 0 ? Math.max(0, y0 - room) : y0 - room;
      [y0, y1] = [floor, y1 + room];
      if (this.data.unit === '%' && !this.log) [y0, y1] = [Math.min(0, y0), Math.max(100, y1)];

      this.width = this.plot.clientWidth;
      const [width, height] = [Math.max(this.width, 220), 250];
      const [right, bottom] = [width - RIGHT, height - BOTTOM];
      const x = (value) => LEFT + ((value - x0) / (x1 - x0)) * (right - LEFT);
      const y = (value) => TOP + ((y1 - value) / (y1 - y0)) * (bottom - TOP);
      const svg = make('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': this.data.title });
      for (const tick of this.log ? decades(y0, y1) : steps(y0, y1, 5)) {
        make('path', { class: 'grid', d: `M${LEFT} ${y(tick).toFixed(1)}H${right}` }, svg);
        make('text', { class: 'tick', x: LEFT - 6, y: y(tick) + 4, 'text-anchor': 'end' }, svg, number(this.log ? 10 ** tick : tick));
      }
      for (const tick of steps(x0, x1, Math.max(2, Math.floor(width / 90)))) {
        make('path', { class: 'grid', d: `M${x(tick).toFixed(1)} ${TOP}V${bottom}` }, svg);
        make('text', { class: 'tick', x: x(tick), y: bottom + 14, 'text-anchor': 'middle' }, svg, number(tick));
      }
      make('text', { class: 'name', x: right, y: height - 5, 'text-anchor': 'end' }, svg, minutes ? 'minutes' : 'step');
      make('text', { class: 'name', x: 2, y: 11 }, svg, this.data.unit);
      if (empty && curves.length) {
        make('text', { class: 'name', x: width / 2, y: height / 2, 'text-anchor': 'middle' }, svg, this.log ? 'no value above 0' : 'no finite value');
      }
      // A separate svg clips lines outside the frame.
      const frame = make('svg', { x: LEFT, y: TOP, width: right - LEFT, height: bottom - TOP, viewBox: `${LEFT} ${TOP} ${right - LEFT} ${bottom - TOP}` }, svg);
      const path = (curve) => {
        let text = '', broken = true;
        const places = along(curve);
        curve.y.forEach((value, i) => {
          const at = scale(value);
          if (at === null) { broken = true; return; }
          text += `${broken ? 'M' : 'L'}${x(places[i]).toFixed(1)} ${y(at).toFixed(1)}`;
          broken = false;
        });
        return text;
      };
      for (const { series, softened, line } of curves) {
        const look = `line c${series.colour}${series.dashed ? ' dashed' : ''}`;
        if (softened) make('path', { class: `${look} raw`, d: path(series) }, frame);
        make('path', { class: look, d: path(line) }, frame);
        for (const [from, , , at] of series.bad || []) {
          const place = x(minutes ? at : from).toFixed(1);
          make('path', { class: 'bad', d: `M${place} ${TOP}V${bottom}` }, frame);
        }
      }
      const over = make('rect', { class: 'over', x: LEFT, y: TOP, width: right - LEFT, height: bottom - TOP, fill: 'transparent' }, svg);
      const cursor = make('path', { class: 'cursor', d: '' }, svg);
      const tip = make('div', { class: 'tip' });
      tip.hidden = true;
      const point = (event) => {
        const box = svg.getBoundingClientRect();
        const at = x0 + ((event.clientX - box.left) * (width / box.width) - LEFT) / (right - LEFT) * (x1 - x0);
        tip.replaceChildren();
        let head = null;
        for (const { series, line } of curves) {
          const places = along(line);
          if (!places.length) continue;
          const i = nearest(places, at);
          head = head || { place: places[i], step: line.x[i], minutes: line.t[i] };
          const row = make('div', { class: `c${series.colour}` });
          make('span', {}, row, series.name);
          make('b', {}, row, line.y[i] === null ? 'not finite' : number(line.y[i]));
          tip.append(row);
        }
        if (!head) return;
        const epoch = this.data.minutes_only ? null : epochOf(head.step);
        const title = this.data.minutes_only ? '' : `step ${head.step}${epoch === null ? '' : `, epoch ${epoch}`}, `;
        tip.prepend(make('div', {}, null, `${title}${number(head.minutes)} min`));
        cursor.setAttribute('d', `M${x(head.place).toFixed(1)} ${TOP}V${bottom}`);
        tip.hidden = false;
        const place = x(head.place) / width;
        tip.style.left = place < 0.5 ? `${place * 100 + 2}%` : 'auto';
        tip.style.right = place < 0.5 ? 'auto' : `${(1 - place) * 100 + 2}%`;
      };
      over.addEventListener('pointermove', point);
      over.addEventListener('pointerdown', point);
      over.addEventListener('pointerleave', () => {
        tip.hidden = true;
        cursor.setAttribute('d', '');
      });
      this.plot.replaceChildren(svg, tip);
    }
  }

  const drawn = [...document.querySelectorAll('figure.chart')].map((figure) => new Chart(figure));
  const redraw = () => drawn.forEach((chart) => chart.draw());
  const tools = document.querySelector('.tools');
  if (tools) {
    tools.hidden = false;
    tools.addEventListener('input', () => {
      page.minutes = tools.elements.axis.value === 'minutes';
      page.smoothing = Number(tools.elements.smoothing.value);
      tools.querySelector('output').textContent = page.smoothing.toFixed(2);
      redraw();
    });
    // A browser may keep the settings of the last visit.
    tools.reset();
  }
  // The runs of a comparison are hidden and shown in all charts.
  for (const key of document.querySelectorAll('.runs .key')) {
    const button = make('button', { type: 'button', class: key.className, 'aria-pressed': 'true' });
    button.append(...key.childNodes);
    button.addEventListener('click', () => {
      const run = key.dataset.run, hide = !page.hidden.has(run);
      if (hide) page.hidden.add(run); else page.hidden.delete(run);
      button.setAttribute('aria-pressed', !hide);
      redraw();
    });
    key.replaceWith(button);
  }
  redraw();
})();
