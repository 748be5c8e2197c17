// What the page asks of the server.

// The page may be served under a prefix.
const ROOT = new URL("../", import.meta.url);

let apiKey = "";

/** Sets the key that goes with every request; it is kept nowhere else. */
export function useApiKey(key) {
  apiKey = key;
}

/** An answer that is not a result; `status` is 0 where there was no answer. */
export class ServerError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function request(path, options = {}) {
  const headers = { ...options.headers };
  if (apiKey) headers.Authorization = `Bearer ${apiKey}`;
  let response;
  try {
    response = await fetch(new URL(path, ROOT), { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("The server does not answer. Is it still running?", 0);
  }
  if (response.ok) return response;
  // What a proxy in between says may be no problem+json.
  const problem = await response.json().catch(() => ({}));
  const said = typeof problem.detail === "string" ? problem.detail : problem.title;
  throw new ServerError(
    said || `The server answered ${response.status} ${response.statusText}`,
    response.status,
  );
}

/** Returns {models, center_biases, limits}. */
export async function models() {
  return (await request("v1/models")).json();
}

/** Returns the examples, [{name, title, url, credit}]. */
export async function examples() {
  const { examples } = await (await request("v1/examples")).json();
  return examples.map((one) => ({ ...one, url: String(inside(one.url)) }));
}

/** Returns the bytes of an example, as a Blob. */
export async function example(url, signal) {
  return (await request(url, { signal })).blob();
}

/** Returns an address of the server; the server itself does not know the prefix. */
function inside(path) {
  return new URL(path.replace(/^\//, ""), ROOT);
}

/**
 * Returns {buffer, model, fold, centerBias, pixelsPerDva}; buffer is a file of numpy.
 *
 * Options that are empty are the model's own.
 */
export async function predict(picture, { model, centerBias, pixelsPerDva }, signal) {
  const query = new URLSearchParams();
  if (model) query.set("model", model);
  if (centerBias) query.set("center_bias", centerBias);
  if (pixelsPerDva) query.set("pixels_per_dva", pixelsPerDva);
  const response = await request(`v1/predict?${query}`, {
    method: "POST",
    body: picture,
    signal,
    headers: {
      Accept: "application/x-npy",
      "Content-Type": picture.type || "application/octet-stream",
    },
  });
  const said = (name) => decodeURIComponent(response.headers.get(`X-DeepGaze-${name}`) ?? "");
  return {
    buffer: await response.arrayBuffer(),
    model: said("Model"),
    fold: said("Fold"),
    centerBias: said("Center-Bias"),
    pixelsPerDva: said("Pixels-Per-Dva"),
  };
}
