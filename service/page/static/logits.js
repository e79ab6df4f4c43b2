// Numbers as the API sends many of them: f32, little-endian, in base64.

/** The numbers of a base64 text. */
export function readFloats(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  // A view would follow the machine's own order of bytes.
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length / 4 }, (_, at) => view.getFloat32(4 * at, true));
}
