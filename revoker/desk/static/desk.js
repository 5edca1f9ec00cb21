// Keeps the flow up to date. Everything on the desk works without it.
const flow = document.getElementById("flow");
const pause = document.getElementById("pause");
let updates = null;

function start() {
  updates = new EventSource("/events");
  updates.onmessage = (event) => {
    // Who is at a link or has text selected in there keeps it.
    const selection = document.getSelection();
    const busy = flow.contains(document.activeElement) ||
      (selection && !selection.isCollapsed && flow.contains(selection.anchorNode));
    if (!busy) flow.innerHTML = JSON.parse(event.data); // escaped by the server's templates
  };
  pause.textContent = "Pause the updates";
}

function stop() {
  updates.close();
  updates = null;
  pause.textContent = "Go on with the updates";
}

pause.hidden = false;
pause.addEventListener("click", () => (updates ? stop() : start()));
window.addEventListener("pagehide", () => updates && stop());
window.addEventListener("pageshow", () => updates || start());
