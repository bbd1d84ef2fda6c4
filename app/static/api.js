// The API, with the key where the server asks for one.

let key = sessionStorage.getItem("key") ?? "";
let asking = null;

export class ApiError extends Error {
  constructor(status, text) { super(text); this.status = status; }
}

export function headers() { return key ? { Authorization: `Bearer ${key}` } : {}; }

export function socketProtocols() { return key ? ["deepfake-stream", `key.${key}`] : ["deepfake-stream"]; }

function askForKey() {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("key-dialog");
    dialog.addEventListener("close", () => {
      key = document.getElementById("key").value.trim();
      sessionStorage.setItem("key", key);
      asking = null;
      resolve();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

export async function call(path, options = {}) {
  for (;;) {
    let answer;
    try {
      answer = await fetch(path, { ...options, headers: { ...headers(), ...options.headers } });
    } catch {
      throw new ApiError(0, options.signal?.aborted ? "Cancelled." : "The server cannot be reached.");
    }
    if (answer.status === 401) { await askForKey(); continue; }
    if (!answer.ok) throw new ApiError(answer.status, (await answer.json().catch(() => ({}))).detail ?? `status ${answer.status}`);
    return answer;
  }
}

export const json = async (path, options) => (await call(path, options)).json();

// fetch does not tell how much was sent; XMLHttpRequest does.
export function startJob(file, name, channels, onProgress, signal) {
  const form = new FormData();
  form.append("files", file, name);
  form.append("channels", channels ? "each" : "mix");
  form.append("detail", "full");
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/jobs");
    for (const [header, value] of Object.entries(headers())) request.setRequestHeader(header, value);
    request.responseType = "json";
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onload = () => request.status === 202 ? resolve(request.response)
      : reject(new ApiError(request.status, request.response?.detail ?? `status ${request.status}`));
    request.onerror = () => reject(new ApiError(0, "The upload was cut off."));
    request.onabort = () => reject(new ApiError(0, "Cancelled."));
    signal?.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

export const job = (id, point, wait, signal) =>
  json(`/v1/jobs/${id}?detail=full&wait_s=${wait}&operating_point=${encodeURIComponent(point)}`, { signal });

export const endJob = (id) => fetch(`/v1/jobs/${id}`, { method: "DELETE", headers: headers(), keepalive: true }).catch(() => {});
