// A picture to look at closely: two fingers, a double tap, a wheel, keys or buttons; a swipe where it is not enlarged.

const DOUBLE_TAP_MS = 300;
const DOUBLE_TAP_SCALE = 2.5;
const LEAST_MOST_SCALE = 4;
const STEP = 1.5;
const STILL_PX = 10;
const SWIPE_PX = 60;

/** Moves `image` within `stage`. `onswipe(1)`: to the left, for the next one; -1: back. `onscale(scale)`: it changed. */
export class Zoom {
  #fingers = new Map();
  #scale = 1;
  #x = 0;
  #y = 0;
  #size = { width: 1, height: 1 };
  #drag = null;
  #tap = null;

  constructor(stage, image, { onswipe, onscale }) {
    Object.assign(this, { stage, image, onswipe, onscale });
    stage.addEventListener("pointerdown", (event) => this.#down(event));
    stage.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, (event) => this.#up(event));
    stage.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    new ResizeObserver(() => this.#apply()).observe(stage);
  }

  get scale() {
    return this.#scale;
  }

  /** The largest scale: each pixel of the photo is two of the page then. */
  get most() {
    return Math.max(LEAST_MOST_SCALE, (2 * this.#size.width) / this.#fitted().width);
  }

  /** Begin anew with a photo of so many pixels. */
  reset(size) {
    this.#size = size;
    this.#fingers.clear();
    this.#drag = null;
    this.#scale = 1;
    this.#x = this.#y = 0;
    this.#apply();
  }

  enlarge = () => this.#zoom(STEP);
  reduce = () => this.#zoom(1 / STEP);

  /** Move what is seen, in pixels of the page. */
  pan(x, y) {
    this.#x += x;
    this.#y += y;
    this.#apply();
  }

  #down(event) {
    if (event.button !== 0) return;
    this.#fingers.set(event.pointerId, this.#point(event));
    this.#drag = this.#fingers.size === 1 ? { x: 0, y: 0 } : null;
  }

  #move(event) {
    if (!this.#fingers.has(event.pointerId)) return;
    const before = gesture(this.#fingers);
    this.#fingers.set(event.pointerId, this.#point(event));
    const after = gesture(this.#fingers);
    const [dx, dy] = [after.x - before.x, after.y - before.y];
    if (this.#drag) {
      this.#drag.x += dx;
      this.#drag.y += dy;
    }
    if (!isStill(this.#drag)) this.stage.setPointerCapture(event.pointerId); // from here on no button is meant
    if (before.spread && after.spread) this.#zoom(after.spread / before.spread, after);
    if (this.#scale > 1) this.pan(dx, dy);
    else this.#apply();
  }

  #up(event) {
    if (!this.#fingers.delete(event.pointerId)) return;
    const drag = this.#drag;
    this.#drag = null;
    this.#apply();
    if (!drag || event.type === "pointercancel") return;
    const isSwipe = this.#scale === 1 && Math.abs(drag.x) > SWIPE_PX && Math.abs(drag.x) > Math.abs(drag.y);
    if (isSwipe) this.onswipe(drag.x < 0 ? 1 : -1);
    else if (isStill(drag) && !event.target.closest("button")) this.#tapped(event);
  }

  #tapped(event) {
    const tap = { at: event.timeStamp, ...this.#point(event) };
    const last = this.#tap;
    const isDouble = last && tap.at - last.at < DOUBLE_TAP_MS && Math.hypot(tap.x - last.x, tap.y - last.y) < 3 * STILL_PX;
    this.#tap = isDouble ? null : tap;
    if (isDouble) this.#zoom(this.#scale > 1 ? 1 / this.#scale : DOUBLE_TAP_SCALE, tap);
  }

  #wheel(event) {
    event.preventDefault();
    this.#zoom(Math.exp(-event.deltaY / 400), this.#point(event));
  }

  /** Enlarge by a factor; what is seen at `at` stays there. */
  #zoom(factor, at = { x: 0, y: 0 }) {
    const before = this.#scale;
    this.#scale = Math.min(Math.max(before * factor, 1), this.most);
    const real = this.#scale / before;
    this.#x = at.x - (at.x - this.#x) * real;
    this.#y = at.y - (at.y - this.#y) * real;
    this.#apply();
    if (this.#scale !== before) this.onscale(this.#scale);
  }

  /** Keep the photo where it can be seen, and put it there. */
  #apply() {
    const fitted = this.#fitted();
    const room = (side, stage) => Math.max(0, (side * this.#scale - stage) / 2);
    this.#x = clamp(this.#x, room(fitted.width, this.stage.clientWidth));
    this.#y = clamp(this.#y, room(fitted.height, this.stage.clientHeight));
    const swiped = this.#scale === 1 && this.#drag ? this.#drag.x : 0;
    this.image.style.transform = `translate(${this.#x + swiped}px, ${this.#y}px) scale(${this.#scale})`;
    this.stage.dataset.zoomed = String(this.#scale > 1);
  }

  /** How large the whole photo is on the stage. */
  #fitted() {
    const { width, height } = this.#size;
    const fit = Math.min(this.stage.clientWidth / width, this.stage.clientHeight / height) || 1;
    return { width: width * fit, height: height * fit };
  }

  /** Where a pointer is, from the middle of the stage. */
  #point(event) {
    const box = this.stage.getBoundingClientRect();
    return { x: event.clientX - box.left - box.width / 2, y: event.clientY - box.top - box.height / 2 };
  }
}

const isStill = (drag) => drag !== null && Math.hypot(drag.x, drag.y) < STILL_PX;

const clamp = (value, most) => Math.min(Math.max(value, -most), most);

/** The middle of all fingers, and how far the first two are from each other. */
function gesture(fingers) {
  const points = [...fingers.values()];
  const mean = (axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length;
  const spread = points.length > 1 ? Math.hypot(points[0].x - points[1].x, points[0].y - points[1].y) : 0;
  return { x: mean("x"), y: mean("y"), spread };
}
