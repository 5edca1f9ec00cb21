// Runs named checks one after another and prints a line for each; exits with 1 if one failed.
// Each check is given queues of its own: queue-N, and brief-N with a lock of one second.

const DEADLINE_MS = 30_000;
const checks = [];

export function check(name, run) {
  checks.push({ name, run });
}

export async function runAll() {
  let failed = 0;
  for (const [index, { name, run }] of checks.entries()) {
    let timer;
    const deadline = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error("took too long")), DEADLINE_MS);
    });
    try {
      await Promise.race([run(`queue-${index}`, `brief-${index}`), deadline]);
      console.log(`ok      ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED  ${name}: ${error.message}`);
    } finally {
      clearTimeout(timer);
    }
  }
  console.log(`${checks.length - failed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
}
