// The latest frame of a time-lapse, in a picture that changes while it is looked at.
//
// It is one address whose picture changes, and within a page browsers show an <img> of an address that they have had
// before as it was then. So it is fetched, which asks whether there is a newer one, and drawn.

import { show } from "./dom.js";

/** A <canvas> of this width, in pixels, that shows the latest frame. Hidden until there is one. */
export class Latest {
  #canvas;
  #width;
  #shown = 0;

  constructor(canvas, width) {
    this.#canvas = canvas;
    this.#width = width;
    show(canvas, false);
  }

  /** Show that of this time-lapse, which was just fetched. What does not arrive is tried again with the next frame. */
  async take({ frames_captured: frames, links }) {
    if (frames === this.#shown) return;
    this.#shown = frames;
    const picture = frames > 0 && await fetched(links.latest, this.#width).catch(() => null);
    if (!picture || frames !== this.#shown) return;
    show(this.#canvas);
    [this.#canvas.width, this.#canvas.height] = [picture.width, picture.height];
    this.#canvas.getContext("2d").drawImage(picture, 0, 0);
    picture.close();
  }
}

async function fetched(path, width) {
  const response = await fetch(path, { headers: { Accept: "image/jpeg" } });
  if (!response.ok) return null;
  return createImageBitmap(await response.blob(), { resizeWidth: width, resizeQuality: "medium" });
}
