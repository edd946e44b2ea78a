
// Shows the command of the variant on the right of the sliders; a click on a tile puts it there.
(() => {
  const selects = document.querySelectorAll(".choice select");
  if (selects.length !== 2) return;
  const right = selects[1];
  const shown = document.getElementById("command");
  const copy = document.getElementById("copy");
  const bar = document.querySelector(".command");
  const figures = document.querySelectorAll("figure[data-key]");

  const show = () => {
    const found = document.querySelector(`[data-command="${right.value}"]`);
    shown.textContent = found ? found.textContent : "Choose a denoised tile.";
    copy.disabled = !found;
    for (const figure of figures) figure.classList.toggle("chosen", figure.dataset.key === right.value);
  };
  for (const figure of figures) {
    figure.addEventListener("click", () => {
      if (figure.dataset.key === "0") return;
      right.value = figure.dataset.key;
      right.dispatchEvent(new Event("change"));
    });
  }
  right.addEventListener("change", () => {
    show();
    copy.textContent = "Copy";
  });
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(shown.textContent);
      copy.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(shown);
      copy.textContent = "Press Ctrl-C";
    }
  });
  right.closest(".choice").append(bar);
  bar.hidden = false;
  show();
})();
