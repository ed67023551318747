// Panes that show a picture each, with zoom and pan by mouse, touch and keyboard. Linked panes move together.

const MAX_SCALE = 40;
const PAN_STEP = 0.1; // of the pane

export class LinkedPanes {
  // elements: panes, in which each <img> fills the box; onChange is called with the scale of the first one.
  constructor(elements, { isLinked, onChange }) {
    this.panes = elements.map((element) => ({ element, scale: 1, x: 0, y: 0, pointers: new Map() }));
    this.isLinked = isLinked;
    this.onChange = onChange;
    for (const pane of this.panes) this.listen(pane);
  }

  reset() {
    for (const pane of this.panes) Object.assign(pane, { scale: 1, x: 0, y: 0 });
    this.update();
  }

  // Zoom around a point; x and y are fractions of a pane.
  zoom(factor, { pane = this.panes[0], x = 0.5, y = 0.5 } = {}) {
    for (const other of this.list(pane)) {
      const scale = Math.min(Math.max(other.scale * factor, 1), MAX_SCALE);
      const ratio = scale / other.scale;
      other.x = x - (x - other.x) * ratio;
      other.y = y - (y - other.y) * ratio;
      other.scale = scale;
    }
    this.update();
  }

  pan(dx, dy, pane = this.panes[0]) {
    for (const other of this.list(pane)) {
      other.x += dx;
      other.y += dy;
    }
    this.update();
  }

  // Return whether the key is one of the panes.
  pressKey(key, focused) {
    const pane = this.panes.find((other) => other.element === focused) ?? this.panes[0];
    if (key === "+" || key === "=") this.zoom(1.25, { pane });
    else if (key === "-") this.zoom(0.8, { pane });
    else if (key === "0") this.reset();
    else if (key === "ArrowLeft") this.pan(PAN_STEP, 0, pane);
    else if (key === "ArrowRight") this.pan(-PAN_STEP, 0, pane);
    else if (key === "ArrowUp") this.pan(0, PAN_STEP, pane);
    else if (key === "ArrowDown") this.pan(0, -PAN_STEP, pane);
    else return false;
    return true;
  }

  list(pane) {
    return this.isLinked() ? this.panes : [pane];
  }

  update() {
    for (const pane of this.panes) {
      const limit = (value) => Math.min(Math.max(value, 0.9 - pane.scale), 0.1);
      pane.x = pane.scale === 1 ? 0 : limit(pane.x);
      pane.y = pane.scale === 1 ? 0 : limit(pane.y);
      const { width, height } = pane.element.getBoundingClientRect();
      for (const image of pane.element.querySelectorAll("img")) {
        image.style.transform = `translate(${pane.x * width}px, ${pane.y * height}px) scale(${pane.scale})`;
      }
    }
    this.onChange(this.panes[0].scale);
  }

  listen(pane) {
    const { element, pointers } = pane;
    const locate = (event) => {
      const box = element.getBoundingClientRect();
      return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
    };
    element.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * 0.0015), { pane, ...locate(event) });
    }, { passive: false });
    element.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      element.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, locate(event));
    });
    element.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) return;
      const now = locate(event);
      const other = [...pointers.entries()].find(([id]) => id !== event.pointerId)?.[1];
      pointers.set(event.pointerId, now);
      if (!other) {
        this.pan(now.x - before.x, now.y - before.y, pane);
        return;
      }
      const distance = (point) => Math.hypot(point.x - other.x, point.y - other.y) || 1e-3;
      this.zoom(distance(now) / distance(before), { pane, x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 });
    });
    for (const name of ["pointerup", "pointercancel"]) {
      element.addEventListener(name, (event) => pointers.delete(event.pointerId));
    }
    element.addEventListener("dblclick", (event) => this.zoom(2, { pane, ...locate(event) }));
  }
}
