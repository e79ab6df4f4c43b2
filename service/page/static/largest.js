// Which numbers of a row are the largest; of equal ones the first, as everywhere in the sampler.

/**
 * A mask of exactly so many of the largest values.
 * @param {Float32Array | Float64Array} values Without NaN.
 * @param {number} count At least 1; beyond the length all are kept.
 * @returns {Uint8Array} 1 where a value is among them.
 */
export function largestMask(values, count) {
  if (count >= values.length) return new Uint8Array(values.length).fill(1);
  const nth = values.slice().sort()[values.length - count];
  let room = count;
  for (const value of values) if (value > nth) room -= 1;
  return Uint8Array.from(values, (value) => {
    if (value > nth) return 1;
    if (value === nth && room > 0) {
      room -= 1;
      return 1;
    }
    return 0;
  });
}
