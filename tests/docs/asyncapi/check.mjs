// Prints what AsyncAPI's own parser says of a document, as JSON: check.mjs FILE
import { Parser, fromFile } from "@asyncapi/parser";

const INFORMATION = 2; // severities below are errors and warnings

const { document, diagnostics } = await fromFile(new Parser(), process.argv[2]).parse();
const messages = document ? document.operations().all().flatMap((each) => each.messages().all()) : [];
console.log(
  JSON.stringify({
    problems: diagnostics
      .filter((each) => each.severity < INFORMATION)
      .map((each) => `${each.path.join(".")}: ${each.message}`),
    bodies: messages.map((message) => message.payload().json()),
    examples: messages.flatMap((message) =>
      message.examples().all().map((example) => ({
        contentType: message.contentType(),
        payload: example.payload(),
      })),
    ),
  }),
);
