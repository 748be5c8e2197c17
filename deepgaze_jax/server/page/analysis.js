// The page's side of the worker.

const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
const waiting = new Map();
let last = 0;

worker.onmessage = ({ data: { id, result, error } }) => {
  const { resolve, reject } = waiting.get(id);
  waiting.delete(id);
  if (error) reject(new Error(error));
  else resolve(result);
};

let broken = null;

// Its modules could not be loaded: no answer will ever come.
worker.onerror = () => {
  broken = new Error("The page could not be loaded as a whole. Load it again.");
  for (const { reject } of waiting.values()) reject(broken);
  waiting.clear();
};

/** Returns a promise of what a task of worker.js returns. */
export function analyse(task, ...args) {
  if (broken) return Promise.reject(broken);
  const id = ++last;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    worker.postMessage({ id, task, args });
  });
}
