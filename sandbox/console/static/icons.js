// Line icons on a 20 by 20 grid.
import { svg } from "./dom.js";

const PATHS = {
  hash: ["M8 3 6 17M14 3l-2 14M3.5 7.5h14M2.5 12.5h14"],
  lock: ["M5 9h10v8H5zM7 9V6a3 3 0 0 1 6 0v3"],
  home: ["M3 9.5 10 3l7 6.5V17h-4.5v-5h-5v5H3z"],
  app: ["M4 7h12v9H4zM10 7V4M10 3.2v.1M7.5 11v1M12.5 11v1M1.8 10.5v3M18.2 10.5v3"],
  plus: ["M10 4v12M4 10h12"],
  close: ["M5 5l10 10M15 5 5 15"],
  back: ["M12.5 4 6.5 10l6 6"],
  down: ["M5 8l5 5 5-5"],
  dots: ["M10 4.5v.1M10 10v.1M10 15.5v.1"],
  reply: ["M4 4h12v9H9l-4 3.5V13H4z"],
  smile: ["M10 3a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM7.5 8v.6M12.5 8v.6M7 11.8a3.6 3.6 0 0 0 6 0"],
  pin: ["M7.5 3h5l-.6 5 2.6 3H5.5l2.6-3zM10 11v6"],
  people: ["M7.5 9a2.6 2.6 0 1 0 0-5.2 2.6 2.6 0 0 0 0 5.2zM2.5 16c.3-3 2.2-4.7 5-4.7s4.7 1.7 5 4.7M13 4.2a2.4 2.4 0 0 1 0 4.6M14.5 11.6c1.8.6 2.8 2.1 3 4.4"],
  send: ["M3.5 16.5 17 10 3.5 3.5 5.5 10zM5.5 10H11"],
  at: ["M13 10a3 3 0 1 1-6 0 3 3 0 0 1 6 0zm0 0v1.2a1.9 1.9 0 0 0 3.8 0V10a6.8 6.8 0 1 0-2.7 5.4"],
  slash: ["M12.5 4.5l-5 11M3.5 3h13v14h-13z"],
  eye: ["M2.5 10S5.2 5 10 5s7.5 5 7.5 5-2.7 5-7.5 5-7.5-5-7.5-5zM12 10a2 2 0 1 1-4 0 2 2 0 0 1 4 0z"],
  moon: ["M16 12.2A6.8 6.8 0 0 1 7.8 4 6.8 6.8 0 1 0 16 12.2z"],
  file: ["M5 2.5h6.5L15 6v11.5H5zM11.5 2.5V6H15M7.5 10h5M7.5 13h5"],
  warning: ["M10 3 18 17H2zM10 8v4.5M10 14.7v.1"],
  outside: ["M8 4H4v12h12v-4M11 4h5v5M16 4l-7 7"],
  link: ["M8.5 11.5l3-3M9 6.5l1.7-1.7a3.2 3.2 0 0 1 4.5 4.5L13.5 11M11 13.5l-1.7 1.7a3.2 3.2 0 0 1-4.5-4.5L6.5 9"],
  clock: ["M10 3a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM10 6v4.3l2.8 1.7"],
  heal: ["M4 10.5 8.2 15 16 5.5"],
  bolt: ["M11 2.5 4.5 11H10l-1 6.5L15.5 9H10z"],
};

/** An icon for the eye only; whoever uses it says in words what it stands for. */
export function icon(name) {
  const paths = PATHS[name].map((d) => svg("path", { d }));
  return svg("svg", { viewBox: "0 0 20 20", class: "icon", "aria-hidden": "true", focusable: "false" }, ...paths);
}
