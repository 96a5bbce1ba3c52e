/** Points [x, y] in pixels, y downwards; a location is x and y of four corners, clockwise from where a line begins. */

/** Returns where the centre may be: the picture leaves no edge of the stage free, or is centred when it is smaller. */
export function inside(centre, length, stage) {
  if (length <= stage) return stage / 2;
  return Math.max(stage - length / 2, Math.min(length / 2, centre));
}

/** Returns by how much to move what lies from `start` to `end` so that it is in view; its start, when it is longer. */
export function intoView(start, end, length, margin) {
  if (end - start > length - 2 * margin || start < margin) return margin - start;
  return Math.min(0, length - margin - end);
}

/**
 * Returns how a line is shown level and as large as it fits.
 * @param {number[][]} points Its corners.
 * @param {number} quarters Clockwise quarter turns of the picture.
 * @param {number[]} frame Width and height.
 * @param {number} maxScale
 * @returns {{scale: number, angle: number, middle: number[]}} the picture's scale and clockwise turn in radians about
 * its origin, and where the middle of the line then is.
 */
export function levelView(points, quarters, frame, maxScale) {
  const angle = quarters * (Math.PI / 2) - skewOf(points);
  const [left, right, top, bottom] = extent(points.map((point) => rotate(point, angle)));
  const scale = Math.min(maxScale, frame[0] / Math.max(1, right - left), frame[1] / Math.max(1, bottom - top));
  return { scale, angle, middle: [((left + right) / 2) * scale, ((top + bottom) / 2) * scale] };
}

/** Returns by how much a line is off the nearest quarter turn, in radians. */
function skewOf([topLeft, topRight, bottomRight, bottomLeft]) {
  const [start, end] = [middle(topLeft, bottomLeft), middle(topRight, bottomRight)];
  const angle = Math.atan2(end[1] - start[1], end[0] - start[0]);
  return angle - Math.round(angle / (Math.PI / 2)) * (Math.PI / 2);
}

/** Returns the four corners in a location. */
export function corners(location) {
  return [0, 2, 4, 6].map((at) => [location[at], location[at + 1]]);
}

/** Returns a point turned clockwise about the origin. */
export function rotate([x, y], angle) {
  return [x * Math.cos(angle) - y * Math.sin(angle), x * Math.sin(angle) + y * Math.cos(angle)];
}

/** Returns [left, right, top, bottom] of points. */
function extent(points) {
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  return [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
}

/** Returns the distance of two points. */
export function distance([x1, y1], [x2, y2]) {
  return Math.hypot(x2 - x1, y2 - y1);
}

/** Returns the point between two points. */
export function middle([x1, y1], [x2, y2]) {
  return [(x1 + x2) / 2, (y1 + y2) / 2];
}
