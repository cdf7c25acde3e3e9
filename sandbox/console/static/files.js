// Files of a message: images shown, documents as a card that opens in the pane beside.
import { fileAddress } from "./api.js";
import { showLarge } from "./dialogs.js";
import { h } from "./dom.js";
import { icon } from "./icons.js";

/** All files of a message: several images side by side where there is room. */
export function fileNodes(app, channel, files) {
  const images = files.filter((file) => file.mimetype.startsWith("image/"));
  const others = files.filter((file) => !images.includes(file));
  return [
    images.length > 0 && h("div", { class: images.length > 1 ? "images images-many" : "images" }, images.map((file) => imageNode(app, file))),
    others.map((file) => cardNode(app, channel, file)),
  ];
}

function imageNode(app, file) {
  const address = fileAddress(file.id);
  const image = h("img", { src: address, alt: file.alt || file.title, loading: "lazy" });
  const larger = app.t("image_larger", { name: file.title });
  return h(
    "figure",
    { class: "image-file" },
    h("figcaption", null, file.title),
    h("button", { type: "button", class: "zoom", "aria-label": `${larger}. ${file.alt}`, title: larger,
      data: { focus: file.id }, onclick: () => showLarge(app, address, file.title, file.alt) }, image),
  );
}

function cardNode(app, channel, file) {
  return h(
    "a",
    { class: "file-card", href: `#/${channel}/file/${file.id}`, "aria-label": app.t("open_file", { name: file.title }),
      data: { focus: file.id } },
    h("span", { class: `file-sign file-${kindOf(file)}` }, icon("file")),
    h("span", { class: "file-words" }, h("strong", null, file.title), h("small", null, `${kindName(file)} · ${sizeText(file.size)}`)),
  );
}

/** `markdown`, `html` or `text`: how the pane shows it. */
export function kindOf(file) {
  const ending = file.name.toLowerCase().split(".").at(-1);
  if (ending === "md" || ending === "markdown") return "markdown";
  return ending === "html" || ending === "htm" ? "html" : "text";
}

function kindName(file) {
  const names = { markdown: "Markdown", html: "HTML" };
  return names[kindOf(file)] ?? (file.name.includes(".") ? file.name.split(".").at(-1).toUpperCase() : "TXT");
}

function sizeText(bytes) {
  return bytes < 1024 ? `${bytes} B` : bytes < 1024 ** 2 ? `${Math.round(bytes / 1024)} kB` : `${(bytes / 1024 ** 2).toFixed(1)} MB`;
}
