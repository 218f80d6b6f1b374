/** Scales of a chart: bounds, ticks, downsampling and smoothing. NaN is null. */

import { number, short, t } from "./i18n.js";

const WINDOWS = 25; // the averages of a curve that do not overlap much

/** Minimum and maximum, null without numbers. No spread operator: a long list exceeds the argument limit. */
export function extent(values) {
  const found = values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  return found[0] <= found[1] ? found : null;
}

/**
 * The bounds of an axis, with a little room beyond the values.
 * @param {[number, number]} values their extent
 * @param {{zero?: boolean, log?: boolean}} options `zero`: the axis begins there
 */
export function bounds([low, high], { zero = false, log = false } = {}) {
  if (log) {
    const room = low === high ? 2 : (high / low) ** 0.04;
    return [low / room, high * room];
  }
  const room = (high - low) * 0.05 || Math.abs(high) * 0.1 || 1;
  return zero && low >= 0 ? [0, high + room] : [low === 0 ? 0 : low - room, high + room];
}

/** About so many round ticks between two numbers. */
export function ticks(low, high, count) {
  if (!(high > low)) return Number.isFinite(low) && low === high ? [low] : [];
  const rough = (high - low) / count;
  if (!Number.isFinite(rough)) return [];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough * 0.7);
  const first = Math.ceil(low / step - 1e-9);
  const many = Math.min(2 * count, Math.floor(high / step + 1e-9) - first);
  return Array.from({ length: many + 1 }, (_, place) => Number(((first + place) * step).toPrecision(12)));
}

/** Ticks of a logarithmic scale: 1, 2, 5 and so on, or some powers of ten. */
export function logTicks(low, high, count) {
  if (!(low > 0 && high / low >= 4)) return low > 0 ? ticks(low, high, count) : []; // close bounds: as on a plain scale
  const decades = Math.log10(high / low);
  const factors = decades < 2 ? [1, 1.5, 2, 3, 4, 6] : decades < 3 ? [1, 2, 5] : [1];
  const every = Math.max(1, Math.ceil(decades / (2 * count)));
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    if (power % every === 0) for (const factor of factors) found.push(Number((factor * 10 ** power).toPrecision(6)));
  }
  return found.filter((value) => value >= low && value <= high);
}

/** At most so many items of a list, evenly spaced, with the first and the last. */
export function thinned(list, most) {
  if (list.length <= most) return list;
  return Array.from({ length: most }, (_, place) => list[Math.round((place * (list.length - 1)) / (most - 1))]);
}

/**
 * A centred moving average, which does not lag behind a falling curve. What is no number stays none and is passed over.
 * @param {[number, number|null][]} points
 */
export function calmed(points) {
  const values = points.map(([, value]) => value);
  const forward = followed(values);
  const backward = followed(values.toReversed()).reverse();
  return points.map(([step], place) => [step, forward[place] === null ? null : (forward[place] + backward[place]) / 2]);
}

/** An exponential moving average with bias correction. */
function followed(values) {
  const kept = 1 - 1 / Math.max(2, values.length / WINDOWS);
  let sum = 0;
  let weight = 0;
  return values.map((value) => {
    if (!Number.isFinite(value)) return null;
    sum = kept * sum + value;
    weight = kept * weight + 1;
    return sum / weight;
  });
}

/** The index of the nearest step, by binary search. */
export function nearest(points, step) {
  let low = 0;
  let high = points.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < step) low = middle + 1;
    else high = middle;
  }
  return low > 0 && step - points[low - 1][0] < points[low][0] - step ? low - 1 : low;
}

/** A value as text. */
export function label(value) {
  if (!Number.isFinite(value)) return t("noNumber");
  const size = Math.abs(value);
  return size >= 10_000 ? short(value) : size > 0 && size < 0.001 ? value.toPrecision(3) : number(value, size >= 100 ? 0 : 3);
}

/** A value as an axis label. */
export function tickLabel(value) {
  const size = Math.abs(value);
  return size >= 10_000 ? short(value) : size > 0 && size < 1e-4 ? value.toExponential() : String(value);
}
