// Messages as JSON in which numbers beyond 2^53 keep their digits.

/**
 * A JSON object.
 * @param {object} values Fields that JSON can write by itself; those not set are left out.
 * @param {[string, string][]} written Further fields whose values are JSON already.
 */
export function jsonOf(values, written = []) {
  const fields = Object.entries(values)
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([name, value]) => [name, JSON.stringify(value)]);
  const parts = [...fields, ...written].map(([name, value]) => `${JSON.stringify(name)}: ${value}`);
  return `{${parts.join(", ")}}`;
}
