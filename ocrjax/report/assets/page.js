"use strict";
// Texts of the data only ever become text nodes and attributes, never HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const STEP = 24; // cards created at a time
const NS = "http://www.w3.org/2000/svg";

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}
const bdi = (text) => make("bdi", null, text);
const percent = (share) => (share === null ? "" : Math.round(share * 100) + " %");
const short = (name) => bdi(name.split("/").slice(-2).join("/"));
const tag = (kind, text) => make("span", { class: "tag " + kind }, text);

const NAMES = { hit: "found", missed: "missed", false: "false positive", misread: "misread", ignored: "ignored" };
const PLURAL = { hit: "found", missed: "missed", false: "false positives", misread: "misread", ignored: "ignored" };

function counted(item, kind) {
  const count = item.counts[kind] || 0;
  return count + " " + (count === 1 ? NAMES : PLURAL)[kind];
}

function picture(item, shown) {
  if (!item.src) return make("span", { class: "lost" }, item.lost || "no image");
  const box = make("span", { class: "picture" });
  box.append(make("img", { src: item.src, alt: item.alt, width: item.w, height: item.h, decoding: "async" }));
  if (item.heat && shown.heat) box.append(make("img", { class: "heat", src: item.heat, alt: "" }));
  if (item.words && shown.boxes) {
    const svg = document.createElementNS(NS, "svg");
    svg.setAttribute("viewBox", "0 0 " + item.w + " " + item.h);
    svg.setAttribute("aria-hidden", "true");
    for (const [kind, points, truth, read] of item.words) {
      const shape = document.createElementNS(NS, "polygon");
      shape.setAttribute("class", kind);
      shape.setAttribute("points", points.join(" "));
      const title = document.createElementNS(NS, "title");
      title.textContent = said(kind, truth, read);
      shape.append(title);
      svg.append(shape);
    }
    box.append(svg);
  }
  return box;
}

function said(kind, truth, read) {
  const texts = [truth === null ? "" : "labeled " + truth, read === null ? "" : "read " + read];
  return [NAMES[kind], ...texts].filter(Boolean).join(", ");
}

function differing(parts, side) {
  const line = make("bdi");
  for (const part of parts) {
    if (part.length === 1) line.append(part[0]);
    else if (part[side]) line.append(make("span", { class: side ? "extra" : "lack" }, part[side]));
  }
  if (!line.textContent) line.append(make("span", { class: "dim" }, "(nothing)"));
  return line;
}

function pair(item) {
  return make("span", { class: "pair" },
    make("span", null, "label"), differing(item.parts, 0), make("span", null, "read"), differing(item.parts, 1));
}

function cropped(item) {
  const inside = item.src ? make("img", { src: item.src, alt: item.alt, decoding: "async" }) : make("span", { class: "dim" }, "no image");
  return make("span", { class: "crop" }, inside);
}

const by = (key, sign = 1) => (a, b) => sign * (key(a) - key(b));
const byName = (a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
const all = () => true;

const LISTS = {
  pictures: {
    sorts: {
      "cost, highest first": by((one) => one.cost, -1),
      "missed words": by((one) => one.counts.missed || 0, -1),
      "false positives": by((one) => one.counts.false || 0, -1),
      "misread words": by((one) => one.counts.misread || 0, -1),
      "name": byName,
    },
    filters: {
      "all": all,
      "missed words": (one) => one.counts.missed > 0,
      "false positives": (one) => one.counts.false > 0,
      "misread words": (one) => one.counts.misread > 0,
      "all right": (one) => one.cost === 0,
    },
    text: (one) => one.name + " " + one.words.map((word) => (word[2] || "") + " " + (word[3] || "")).join(" "),
    card: (one) => [picture(one, { boxes: true, heat: false }), make("span", { class: "text" },
      make("span", { class: "name", title: one.name }, bdi(one.name)),
      ...["missed", "false", "misread", "hit"].filter((kind) => one.counts[kind]).map((kind) => tag(kind, counted(one, kind))))],
  },
  crops: {
    sorts: {
      "worst first": by((one) => one.order),
      "most confident first": by((one) => (one.sure === null ? -1 : one.sure), -1),
      "label": (a, b) => (a.truth < b.truth ? -1 : 1),
      "name": byName,
    },
    filters: { "all": all, "read with 90 % or more": (one) => one.sure >= 0.9, "differs in case only": (one) => one.truth.toLowerCase() === one.read.toLowerCase() },
    text: (one) => one.name + " " + one.truth + " " + one.read,
    card: (one) => [cropped(one), make("span", { class: "text" }, pair(one),
      make("span", { class: "name", title: one.name }, percent(one.sure) + (one.sure === null ? "" : " · ") + one.distance + (one.distance === 1 ? " edit · " : " edits · "), short(one.name)))],
  },
  suspects: {
    sorts: { "suspicion": by((one) => one.order), "most confident first": by((one) => one.sure, -1), "name": byName },
    filters: { "all": all },
    text: (one) => one.name + " " + one.truth + " " + one.read + " " + one.kind,
    card: (one) => [cropped(one), make("span", { class: "text" }, pair(one),
      make("span", { class: "name", title: one.name }, one.kind + " · " + one.suspicion + " · " + percent(one.sure) + " sure · ", short(one.name)))],
  },
  gallery: {
    sorts: { "as given": () => 0, "name": byName },
    filters: { "all": all },
    text: (one) => one.name,
    card: (one) => [picture(one, {}), make("span", { class: "text" }, bdi(one.name))],
  },
};

class List {
  constructor(root) {
    this.kind = root.dataset.list;
    this.spec = LISTS[this.kind];
    this.items = data[this.kind];
    this.root = root;
    this.filters = { ...this.spec.filters };
    const groups = { suspects: (one) => one.kind, crops: (one) => one.set }[this.kind];
    for (const group of groups ? new Set(this.items.map(groups)) : []) {
      if (group) this.filters[group] = (one) => groups(one) === group;
    }
    this.search = make("input", { type: "search", placeholder: "text or name", autocomplete: "off", spellcheck: "false" });
    this.sort = make("select", null, ...Object.keys(this.spec.sorts).map((name) => make("option", null, name)));
    this.filter = make("select", null, ...Object.keys(this.filters).map((name) => make("option", null, name)));
    this.count = make("output", { "aria-live": "polite" });
    this.cards = make("ul", { class: "cards" });
    this.more = make("button", { type: "button", class: "more" }, "Show more");
    const label = (text, inside) => make("label", null, text, inside);
    root.append(make("div", { class: "tools" }, label("Search", this.search), label("Filter", this.filter),
      label("Sort by", this.sort), this.count), this.cards, this.more);
    for (const tool of [this.search, this.sort, this.filter]) tool.addEventListener("input", () => this.update());
    this.more.addEventListener("click", () => this.grow());
    new IntersectionObserver((seen) => { if (seen[0].isIntersecting) this.grow(); }, { rootMargin: "600px" }).observe(this.more);
    this.update();
  }
  update() {
    const wanted = this.search.value.normalize("NFC").toLowerCase();
    const keep = this.filters[this.filter.value];
    this.shown = this.items.filter((one) => keep(one) && (!wanted || this.spec.text(one).toLowerCase().includes(wanted)));
    this.shown.sort(this.spec.sorts[this.sort.value]); // stable
    this.count.textContent = this.shown.length.toLocaleString("en") + " of " + this.items.length.toLocaleString("en");
    this.cards.replaceChildren();
    this.grow();
  }
  grow() {
    const first = this.cards.children.length;
    this.shown.slice(first, first + STEP).forEach((one, place) => {
      const button = make("button", { type: "button", class: "card" }, ...this.spec.card(one));
      button.addEventListener("click", () => zoom.open(this, first + place));
      this.cards.append(make("li", null, button));
    });
    this.more.hidden = this.cards.children.length >= this.shown.length;
  }
  focus(place) {
    while (this.cards.children.length <= place && !this.more.hidden) this.grow();
    const card = this.cards.children[place];
    if (card) card.firstElementChild.focus();
  }
  get place() {
    const card = document.activeElement.closest ? document.activeElement.closest("li") : null;
    return card && card.parentElement === this.cards ? [...this.cards.children].indexOf(card) : -1;
  }
}

const zoom = {
  box: document.getElementById("zoom"),
  stage: document.getElementById("zoom-stage"),
  size: 1,
  boxes: true,
  heat: false,
  open(list, place) {
    this.list = list;
    this.place = place;
    this.size = 1;
    if (!this.box.open) this.box.showModal();
    this.draw();
    this.stage.focus();
  },
  get item() { return this.list.shown[this.place]; },
  draw() {
    const item = this.item;
    document.getElementById("zoom-name").textContent = item.name;
    document.getElementById("zoom-said").textContent = this.place + 1 + " of " + this.list.shown.length + (item.why ? " · " + item.why : "");
    this.stage.replaceChildren(picture(item, this));
    for (const name of ["heat", "boxes"]) {
      const button = this.box.querySelector('[data-do="' + name + '"]');
      button.hidden = name === "heat" ? !item.heat : !item.words;
      button.setAttribute("aria-pressed", this[name]);
    }
    const words = document.getElementById("zoom-words");
    words.replaceChildren();
    if (item.parts) words.append(pair(item));
    for (const kind of ["missed", "false", "misread", "hit", "ignored"]) {
      const found = (item.words || []).filter((word) => word[0] === kind);
      if (!found.length) continue;
      const lines = found.map(([, , truth, read, parts]) => {
        if (kind === "misread") return make("li", null, differing(parts, 0), " read ", differing(parts, 1));
        const text = truth === null ? read : truth;
        return text === null ? null : make("li", null, bdi(text));
      }).filter((line) => line !== null);
      words.append(make("h3", null, tag(kind, counted(item, kind))), make("ul", null, ...lines));
    }
    words.hidden = !words.children.length;
    this.scale(); // after the words have taken their space
  },
  scale() {
    const inside = this.stage.querySelector(".picture");
    if (!inside) return;
    const image = inside.querySelector("img");
    const w = this.item.w || image.naturalWidth || 300, h = this.item.h || image.naturalHeight || 100;
    const fit = Math.min(this.stage.clientWidth / w, this.stage.clientHeight / h);
    inside.style.width = Math.max(20, w * fit * this.size) + "px";
  },
  resize(factor) {
    this.size = factor ? Math.min(16, Math.max(1, this.size * factor)) : 1;
    const [x, y] = [this.stage.scrollLeft + this.stage.clientWidth / 2, this.stage.scrollTop + this.stage.clientHeight / 2];
    const before = this.stage.scrollWidth;
    this.scale();
    const grown = this.stage.scrollWidth / before;
    this.stage.scrollTo(x * grown - this.stage.clientWidth / 2, y * grown - this.stage.clientHeight / 2);
  },
  act(name) {
    const moves = { next: 1, previous: -1 };
    if (name in moves) {
      const place = this.place + moves[name];
      if (place >= 0 && place < this.list.shown.length) { this.place = place; this.size = 1; this.draw(); }
    } else if (name === "larger") this.resize(1.4);
    else if (name === "smaller") this.resize(1 / 1.4);
    else if (name === "fit") this.resize(0);
    else if (name === "heat" || name === "boxes") { this[name] = !this[name]; this.draw(); }
    else if (name === "close") this.box.close();
  },
};
zoom.box.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (button) zoom.act(button.dataset.do);
});
zoom.box.addEventListener("close", () => zoom.list.focus(zoom.place));
window.addEventListener("resize", () => { if (zoom.box.open) zoom.scale(); });

const lists = [...document.querySelectorAll("[data-list]")].map((root) => new List(root));
const ZOOMED = { j: "next", k: "previous", n: "next", p: "previous", "+": "larger", "=": "larger", "-": "smaller", "−": "smaller", 0: "fit", h: "heat", b: "boxes" };

// The list of the section with the focus, else the one with the largest visible area, else the first.
function current() {
  const focused = lists.find((list) => list.root.closest("section").contains(document.activeElement));
  if (focused) return focused;
  const seen = (list) => {
    const box = list.root.getBoundingClientRect();
    return Math.min(box.bottom, innerHeight) - Math.max(box.top, 0);
  };
  return lists.reduce((best, list) => (best === null || seen(list) > seen(best) ? list : best), null);
}

function turn(select) {
  select.selectedIndex = (select.selectedIndex + 1) % select.options.length;
  select.dispatchEvent(new Event("input"));
  select.focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const typing = event.target.matches("input, textarea");
  if (event.key === "Escape" && typing) { event.target.blur(); return; }
  if (typing) return;
  if (zoom.box.open) {
    const name = ZOOMED[event.key];
    if (name) { zoom.act(name); event.preventDefault(); }
    return;
  }
  if (event.key >= "1" && event.key <= "9") {
    const link = document.querySelectorAll("nav a")[event.key - 1];
    if (link) {
      const section = document.querySelector(link.getAttribute("href"));
      section.scrollIntoView();
      section.querySelector("h2").focus({ preventScroll: true });
      event.preventDefault();
    }
    return;
  }
  const list = current();
  if (!list) return;
  if (event.key === "j" || event.key === "k") list.focus(Math.max(0, list.place + (event.key === "j" ? 1 : -1)));
  else if (event.key === "/") { list.search.focus(); list.search.select(); }
  else if (event.key === "s") turn(list.sort);
  else if (event.key === "f") turn(list.filter);
  else return;
  event.preventDefault();
});
