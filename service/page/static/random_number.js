// The random number of a place in a text: Philox4x32-10 by seed, choice and position, as
// docs/sampling.md has it. It depends on nothing else, so the page can draw it again.

const MASK = 2n ** 32n - 1n;

/**
 * A number from 0 to 2^32 - 1.
 * @param {bigint} seed From 0 to 2^64 - 1.
 * @param {number} choice Which continuation of the prompt, from 0 on.
 * @param {number} position Where the token will stand, counted from the start of the prompt.
 */
export function randomWord(seed, choice, position) {
  const place = BigInt(position);
  let counter = [place & MASK, place >> 32n, BigInt(choice), 0n];
  let key = [seed & MASK, seed >> 32n];
  for (let round = 0; round < 10; round += 1) {
    const first = 0xd2511f53n * counter[0];
    const second = 0xcd9e8d57n * counter[2];
    counter = [
      (second >> 32n) ^ counter[1] ^ key[0],
      second & MASK,
      (first >> 32n) ^ counter[3] ^ key[1],
      first & MASK,
    ];
    key = [(key[0] + 0x9e3779b9n) & MASK, (key[1] + 0xbb67ae85n) & MASK];
  }
  return Number(counter[0]);
}
