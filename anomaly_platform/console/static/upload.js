"use strict";
// A file by drag and drop: sent once, shown as it is read, and taken in when somebody says so.

(window.consoleParts ||= {}).upload = (root) => {
  const drop = root.querySelector(".drop"), said = root.querySelector("[data-said]");
  const preview = root.querySelector("[data-preview]"), choose = root.querySelector("input[type=file]");

  async function look(file) {
    said.textContent = `Looking at ${file.name} …`;
    preview.replaceChildren();
    const address = new URL(root.dataset.look, location.href);
    address.searchParams.set("name", file.name);
    try {
      const answer = await fetch(address, {
        method: "POST", body: file,
        headers: { "x-token": root.dataset.token, "x-part": "look", "content-type": "application/octet-stream" },
      });
      const text = await answer.text();
      said.textContent = answer.ok ? "" : text;
      if (answer.ok) preview.innerHTML = text;
    } catch {
      said.textContent = "No answer.";
    }
  }

  choose.addEventListener("change", () => { if (choose.files[0]) look(choose.files[0]); });
  for (const kind of ["dragenter", "dragover"]) {
    drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  for (const kind of ["dragleave", "drop"]) {
    drop.addEventListener(kind, () => drop.classList.remove("over"));
  }
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) look(event.dataTransfer.files[0]);
  });
};
