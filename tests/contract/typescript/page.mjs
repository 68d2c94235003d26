// The TypeScript of docs/signing-in.md: `extract` prints it, for tsc to check; `run API OUTBOX` runs it as a page would
// run in a browser, against the API there, with its code from the SMS in the file OUTBOX.
import { readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import ts from "typescript";

const PAGE = "http://localhost:3005";
// What a browser sends without asking first (Fetch, CORS-safelisted).
const SAFE = new Set(["accept", "accept-language", "content-language"]);

const text = readFileSync(new URL("../../../docs/signing-in.md", import.meta.url), "utf8");
const source = [...text.matchAll(/^```ts\n(.*?)^```$/gms)].map((block) => block[1]).join("\n");

const [command, api, outbox] = process.argv.slice(2);
if (command === "extract") process.stdout.write(`${source}\nexport {};\n`);
else await run();

async function run() {
  const bare = fetch;
  const cookies = new Map();
  const kept = new Map();
  const store = { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value) };
  Object.assign(globalThis, { fetch: browse, localStorage: store, askForCode });
  const script = source.replaceAll("http://localhost:8000", api).replaceAll("+919876543210", process.env.PHONE);
  const { outputText } = ts.transpileModule(script, { compilerOptions: { target: "ES2022", module: "ESNext" } });
  const file = join(process.env.FOLDER ?? tmpdir(), "page.mjs");
  writeFileSync(file, outputText);
  await import(pathToFileURL(file).href);
  console.log(`cookies left: ${[...cookies.keys()].join() || "none"}`);

  // As a browser: ask before what is not safe, hold cookies, show the page only what it may see.
  async function browse(url, init = {}) {
    const { credentials, ...request } = init;
    const headers = new Headers(request.headers);
    const unsafe = [...headers.keys()].filter((name) => !SAFE.has(name));
    const method = request.method ?? "GET";
    if (unsafe.length > 0) {
      const asked = { Origin: PAGE, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": unsafe.join() };
      const leave = await bare(url, { method: "OPTIONS", headers: asked });
      const allowed = leave.headers.get("Access-Control-Allow-Headers")?.toLowerCase().split(", ") ?? [];
      if (!shared(leave, credentials) || !unsafe.every((name) => allowed.includes(name))) throw new TypeError("CORS");
    }
    headers.set("Origin", PAGE);
    if (credentials === "include" && cookies.size > 0) headers.set("Cookie", [...cookies.values()].join("; "));
    const answer = await bare(url, { ...request, headers });
    if (!shared(answer, credentials)) throw new TypeError("CORS");
    for (const cookie of credentials === "include" ? answer.headers.getSetCookie() : []) {
      const [pair, ...attributes] = cookie.split("; ");
      if (!attributes.includes("HttpOnly") || !attributes.includes("SameSite=Strict")) throw new Error(attributes);
      const name = pair.split("=")[0];
      if (attributes.includes("Max-Age=0")) cookies.delete(name);
      else cookies.set(name, pair);
    }
    const exposed = answer.headers.get("Access-Control-Expose-Headers").toLowerCase().split(", ");
    const seen = [...answer.headers].filter(([name]) => exposed.includes(name) || name === "content-type");
    const body = [204, 304].includes(answer.status) ? null : await answer.text();
    return new Response(body, { status: answer.status, headers: seen });
  }

  function shared(answer, credentials) {
    const open = answer.headers.get("Access-Control-Allow-Origin") === PAGE;
    return open && (credentials !== "include" || answer.headers.get("Access-Control-Allow-Credentials") === "true");
  }

  async function askForCode() {
    for (;;) {
      const messages = readFileSync(outbox, "utf8").split("\n").filter(Boolean).map((line) => JSON.parse(line));
      const sent = messages.filter((message) => message.to === process.env.PHONE).at(-1);
      if (sent) return sent.body.match(/\b\d{6}\b/)[0];
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
