// Refreshes what each page marks with data-live, and says so when it cannot.
// Everything else on the desk works without it.
const EVERY = 2000, OLD = 9000; // milliseconds; it looks each second, and ten are the limit
const old = document.getElementById("old");
const live = () => [...document.querySelectorAll("[data-live]")];
let readAt = 0;
let problem = "";

/** Notes when the facts on the page were read. What is older than OLD says so itself, without an age. */
function date() {
  const ages = live().map((part) => Number(part.dataset.age ?? 0));
  readAt = Date.now() - 1000 * Math.max(0, ...ages);
}

function ago() {
  const seconds = Math.max(0, Math.round((Date.now() - readAt) / 1000));
  return seconds < 120 ? `${seconds} s ago` : `${Math.round(seconds / 60)} min ago`;
}

/** Says how old the page is. */
function tell() {
  for (const each of document.querySelectorAll("[data-ago]")) each.textContent = ago();
  old.hidden = !problem && Date.now() - readAt < OLD;
  const text = `This page is out of date: it shows what was read ${ago()}. ${problem}`;
  if (!old.hidden && old.textContent !== text) old.textContent = text;
}

/** Replaces a part. What has the focus keeps it. */
function replace(part, fresh) {
  const focused = part.contains(document.activeElement) && document.activeElement.outerHTML;
  part.replaceWith(fresh); // the server's templates have escaped it
  if (focused) {
    const again = [...fresh.querySelectorAll("a, button")].find((each) => each.outerHTML === focused);
    again?.focus({ preventScroll: true });
  }
}

async function refresh() {
  try {
    const answer = await fetch(location.href, { signal: AbortSignal.timeout(8000) });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const selection = document.getSelection();
    if (!answer.ok) {
      problem = page.querySelector(".notice.bad:not([hidden])")?.textContent ?? answer.statusText;
    } else if (!selection.isCollapsed && live().some((part) => selection.containsNode(part, true))) {
      problem = "It waits while you select text.";
    } else {
      for (const part of live()) {
        const fresh = page.getElementById(part.id);
        if (fresh) replace(part, fresh);
      }
      document.title = page.title;
      problem = "";
      date();
    }
  } catch {
    problem = "The desk does not answer. If it was stopped, start it again, and open its new address.";
  }
  tell();
}

if (live().length > 1) { // the title alone is on pages that show nothing that changes
  date();
  setInterval(tell, 1000);
  document.addEventListener("visibilitychange", tell);
  (async () => {
    for (;;) {
      await refresh();
      await new Promise((resolve) => setTimeout(resolve, EVERY));
    }
  })();
}
