"use strict";
// Lays two pictures of each crop over each other, with a divider that moves. Without it the page
// shows them side by side.
(() => {
  const section = document.getElementById("crops");
  if (!section) return;
  const make = (name, props = {}, ...children) => {
    const made = Object.assign(document.createElement(name), props);
    made.append(...children);
    return made;
  };

  const names = new Map();
  for (const figure of section.querySelectorAll("figure")) {
    if (figure.dataset.key !== "truth") names.set(figure.dataset.key, figure.dataset.name);
  }
  if (section.querySelector('figure[data-key="truth"]')) names.set("truth", "truth");
  const keys = [...names.keys()];
  const chosen = { left: keys[0], right: section.dataset.right ?? keys[1] };

  const viewers = [...section.querySelectorAll(".crop")].map((crop) => {
    const figures = new Map();
    for (const figure of crop.querySelectorAll("figure")) figures.set(figure.dataset.key, figure);
    const sized = crop.querySelector("figure img");
    const shape = { w: Number(sized.getAttribute("width")), h: Number(sized.getAttribute("height")) };
    const images = {
      right: make("img", { className: "right", draggable: false }),
      left: make("img", { className: "left", draggable: false }),
    };
    const said = { left: make("span"), right: make("span") };
    const divider = make("span", { className: "divider" });
    const stage = make("div", { className: "stage" }, images.right, images.left, divider);
    const range = make("input", { type: "range", min: 0, max: 100, step: 0.5, value: 50 });
    range.setAttribute("aria-label", "Divider between the left and the right picture");
    const captions = make("div", { className: "said" }, said.left, said.right);
    const viewer = make("div", { className: "viewer" }, stage, range, captions);
    stage.style.aspectRatio = `${shape.w} / ${shape.h}`;

    const move = () => {
      stage.style.setProperty("--at", `${range.value}%`);
      range.setAttribute("aria-valuetext", `left picture up to ${Math.round(range.value)} %`);
    };
    const point = (event) => {
      const box = stage.getBoundingClientRect();
      range.value = (100 * (event.clientX - box.left)) / box.width;
      move();
    };
    range.addEventListener("input", move);
    stage.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.preventDefault();
      stage.setPointerCapture(event.pointerId);
      range.focus({ preventScroll: true });
      point(event);
    });
    stage.addEventListener("pointermove", (event) => {
      if (stage.hasPointerCapture(event.pointerId)) point(event);
    });

    const show = (side) => {
      const figure = figures.get(chosen[side]);
      images[side].hidden = !figure;
      said[side].replaceChildren();
      if (!figure) {
        said[side].append(`${names.get(chosen[side])}: no picture`);
        return;
      }
      const image = figure.querySelector("img");
      images[side].src = image.src;
      images[side].alt = image.alt;
      for (const node of figure.querySelector("figcaption").childNodes) {
        said[side].append(node.cloneNode(true));
      }
    };

    // A whole number of screen pixels for each pixel, where there is room: noise must look as it is.
    const fit = () => {
      const room = crop.clientWidth * devicePixelRatio;
      const scale = Math.floor(room / shape.w);
      viewer.style.width = scale >= 1 ? `${(scale * shape.w) / devicePixelRatio}px` : "100%";
    };
    new ResizeObserver(fit).observe(crop);

    move();
    crop.querySelector(".side-by-side").before(viewer);
    return show;
  });

  const choice = make("div", { className: "choice" });
  for (const [side, word] of [["left", "Left"], ["right", "Right"]]) {
    const options = [...names].map(([value, name]) => make("option", { value }, name));
    const select = make("select", {}, ...options);
    select.value = chosen[side];
    select.addEventListener("change", () => {
      chosen[side] = select.value;
      for (const show of viewers) show(side);
    });
    choice.append(make("label", {}, word, select));
    for (const show of viewers) show(side);
  }
  section.querySelector(".crops").before(choice);
  document.documentElement.classList.add("js");
})();
