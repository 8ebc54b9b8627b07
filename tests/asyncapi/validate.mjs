// Reads an AsyncAPI document from standard input and lets the reference parser judge it.
// Exit code 1 if it is not valid; what the parser has to say is printed either way.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { Parser } = createRequire(`${process.cwd()}/`)("@asyncapi/parser");
const severities = ["error", "warning", "info", "hint"];

const { document, diagnostics } = await new Parser().parse(readFileSync(0, "utf8"));
for (const { severity, path, message } of diagnostics) {
  console.log(`${severities[severity]}: ${path.join(".")}: ${message}`);
}
if (document) {
  const channels = document.channels().all().length;
  const operations = document.operations().all().length;
  console.log(`valid AsyncAPI ${document.version()}: ${channels} channels, ${operations} operations`);
} else {
  console.log("not valid");
  process.exitCode = 1;
}
