// Elements of the page, made of names and text: no string ever becomes markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element with a class and text. */
export function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

/** A button that does something. */
export function makeButton(className, text, onClick) {
  const button = make("button", className, text);
  button.type = "button";
  button.addEventListener("click", onClick);
  return button;
}

/** An element of a drawing. */
export function draw(tag, attributes = {}, text = "") {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text) element.textContent = text;
  return element;
}

/** A bar as long as a share of its track; it is seen and not heard. */
export function makeTrack(share, className = "") {
  const track = make("span", `track ${className}`.trim());
  track.setAttribute("aria-hidden", "true");
  const fill = make("span", "fill");
  fill.style.setProperty("--share", String(Math.max(0, Math.min(1, share))));
  track.append(fill);
  return track;
}
