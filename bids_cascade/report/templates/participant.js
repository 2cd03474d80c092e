"use strict";
// A lesion's number leads to its place in the viewer above its table; methods and BibTeX can be copied.

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href*='#lesion-']");
  const viewer = link?.closest("section")?.querySelector("iframe.viewer");
  if (!viewer || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  viewer.src = link.href;
  viewer.scrollIntoView({ block: "nearest" });
});

// A viewer says how tall it is.
window.addEventListener("message", (event) => {
  const viewer = [...document.querySelectorAll("iframe.viewer")].find((frame) => frame.contentWindow === event.source);
  if (viewer && event.data?.height > 0) viewer.style.height = `${Math.ceil(event.data.height)}px`;
});

// A button below an element that copies its text.
function offerCopy(element, text) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(element);
      button.textContent = "Selected; copy it with your keyboard";
    }
  });
  element.after(button);
}

for (const methods of document.querySelectorAll(".methods")) {
  offerCopy(methods, [...methods.querySelectorAll("p, li")].map((element) => element.textContent).join("\n\n"));
}
for (const entries of document.querySelectorAll(".bibtex")) offerCopy(entries, entries.textContent);
