// The page: controls, the answer, and the link that holds the choice. Fills each element with
// `data-will-it-copy`, so that it works in a page of its own and inside of another.
"use strict";

(() => {
  const {Conversions, MEASURED, formatBytes, formatTime, fromHash, toHash} = globalThis.willItCopy;
  const ELEMENTS = 100000;
  const VERDICTS = {
    "shared": {
      mark: "●", kind: "shared", title: "Shared", text: () => "Both use the same memory. Nothing is copied.",
    },
    "mapped copy-on-write": {
      mark: "◐", kind: "mapped", title: "Mapped copy-on-write",
      text: () => "The file is mapped again, over the same pages. A page is copied when it is "
        + "first written, and a write never reaches the file.",
    },
    "copied": {
      mark: "○", kind: "copied", title: "Copied",
      text: (bytes) => `${bytes} are copied, with a CopyWarning; copy=False raises ZeroCopyError.`,
    },
    "refused": {
      mark: "×", kind: "refused", title: "Refused",
      text: () => "There is no faithful result: UnsupportedError is raised, whatever copy= is.",
    },
  };
  const GROUPS = [
    [/^(bool|u?int(8|16|32|64)|float(16|32|64)|longdouble|complex.*)$/, "numbers"],
    [/^(bfloat16|float[468].+|u?int[124])$/, "ml_dtypes"],
    [/^(datetime|timedelta)/, "times"],
    [/./, "other"],
  ];
  const TEMPLATE = `
<form class="choice" aria-label="The conversion">
  <label>From <select name="from"></select></label>
  <button type="button" name="swap" aria-label="Swap from and to" title="Swap from and to">⇄</button>
  <label>To <select name="to"></select></label>
  <label>dtype <select name="dtype"></select></label>
  <label>Layout <select name="layout"></select></label>
  <label>Elements <input name="count" type="number" min="1" max="1000000000000" step="1"
    inputmode="numeric"></label>
  <fieldset>
    <legend>Memory</legend>
    <label><input type="checkbox" name="readOnly"> read-only</label>
    <label><input type="checkbox" name="mapped"> mapped from a file</label>
  </fieldset>
</form>
<section class="answer" aria-label="The answer">
  <div role="status" aria-live="polite" aria-atomic="true" class="verdict">
    <p class="route"></p>
    <h2><span class="mark" aria-hidden="true"></span> <span class="title"></span></h2>
    <p class="text"></p>
    <p class="caution" hidden></p>
    <dl class="obstacles"></dl>
  </div>
  <div class="code">
    <h3></h3>
    <button type="button" name="copy">Copy</button>
    <pre><code></code></pre>
  </div>
  <div class="cost">
    <h3>Cost of a call</h3>
    <dl></dl>
    <p></p>
  </div>
</section>
<section class="others">
  <h3>This array to each framework</h3>
  <ul></ul>
</section>
<details class="missing">
  <summary></summary>
  <dl></dl>
  <p>Not on this page, because they need a GPU: CuPy, and PyTorch and JAX on a device. Between
  devices arrays are shared by DLPack; to and from the host they are copied.</p>
</details>
<p class="versions"></p>`;

  /** The controls and the answer within one element. */
  class Page {
    constructor(root, table) {
      this.root = root;
      this.table = table;
      root.innerHTML = TEMPLATE;
      this.form = root.querySelector("form");
      this.fields = this.form.elements;
      const {choice, elements} = fromHash(location.hash, table, ELEMENTS);
      this.choice = choice;
      this.elements = elements;
      fill(this.fields.from, table.sources.map((name) => ({name, label: this.nameOf(name)})));
      fill(this.fields.to, table.targets.map((name) => ({name, label: this.nameOf(name)})));
      this.listen();
      this.show();
    }

    find(selector) {
      return this.root.querySelector(selector);
    }

    nameOf(name) {
      const label = this.table.label(name);
      return {numpy: "NumPy", torch: "PyTorch", store: "NumPack store", array_interface: "__array_interface__",
        cuda_array_interface: "__cuda_array_interface__", buffer: "buffer protocol"}[name] ?? label;
    }

    listen() {
      this.form.addEventListener("submit", (event) => event.preventDefault());
      this.form.addEventListener("change", (event) => this.read(event.target.name));
      this.fields.count.addEventListener("input", () => this.read("count"));
      this.fields.swap.addEventListener("click", () => this.swap());
      this.find("[name=copy]").addEventListener("click", () => this.copy());
      addEventListener("hashchange", () => {
        if (location.hash === toHash(this.choice, this.elements)) return;
        Object.assign(this, fromHash(location.hash, this.table, ELEMENTS));
        this.show();
      });
    }

    read(changed) {
      const {from, to, dtype, layout, readOnly, mapped, count} = this.fields;
      this.choice = this.table.nearest({
        from: from.value, to: to.value, dtype: dtype.value, layout: layout.value,
        readOnly: readOnly.checked, mapped: mapped.checked,
      });
      if (count.validity.valid && count.value) this.elements = Number(count.value);
      this.show(changed);
      history.replaceState(null, "", toHash(this.choice, this.elements));
    }

    choose(changes) {
      this.choice = this.table.nearest({...this.choice, ...changes});
      this.show();
      history.replaceState(null, "", toHash(this.choice, this.elements));
    }

    swap() {
      const {from, to} = this.choice;
      this.choose({from: to, to: from === "store" ? "numpy" : from});
    }

    async copy() {
      const button = this.find("[name=copy]");
      const code = this.find("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
      } catch { // without permission, as for a page of a file: by selection
        getSelection().selectAllChildren(code);
        document.execCommand("copy");
        getSelection().removeAllRanges();
      }
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    }

    show(changed) {
      this.showControls(changed);
      this.showAnswer();
      this.showOthers();
      this.showMissing();
      const versions = Object.entries(this.table.data.versions).filter(([, version]) => version);
      this.find(".versions").textContent =
        `With ${versions.map(([name, version]) => `${name} ${version}`).join(", ")}.`;
    }

    showControls(changed) {
      const {table, choice, fields} = this;
      fields.from.value = choice.from;
      fields.to.value = choice.to;
      fields.swap.disabled = !table.sources.includes(choice.to);
      fill(fields.dtype, table.dtypes.map((name) => ({
        name, group: GROUPS.find(([pattern]) => pattern.test(name))[1], why: table.whyNotDtype(choice, name),
      })), choice.dtype);
      fill(fields.layout, table.layouts.map(({name, description}) => ({
        name, label: `${name} – ${description}`, why: table.whyNotLayout(choice, name),
      })), choice.layout);
      for (const flag of ["readOnly", "mapped"]) {
        const why = table.whyNotFlag(choice, flag);
        fields[flag].checked = choice[flag];
        fields[flag].disabled = Boolean(why);
        fields[flag].parentElement.title = why;
      }
      fields.count.disabled = table.size(choice) <= 1;
      if (changed !== "count") fields.count.value = this.elements;
    }

    showAnswer() {
      const {choice, table} = this;
      const answer = table.answer(choice);
      const verdict = VERDICTS[answer.verdict];
      this.find(".answer").dataset.verdict = verdict.kind;
      this.find(".route").textContent = this.describe();
      this.find(".mark").textContent = verdict.mark;
      this.find(".title").textContent = verdict.title;
      this.find(".text").textContent = verdict.text(formatBytes(table.bytes(choice, this.elements)));
      const caution = this.find(".caution");
      caution.hidden = !answer.caution;
      caution.textContent = answer.caution && `ReadOnlyWarning: ${answer.caution}.`;
      const entries = answer.obstacles.flatMap(({reason, fix}) => [["Why", reason], ["Fix", fix]]);
      describeIn(this.find(".obstacles"), entries.filter(([, text]) => text));
      const code = this.find(".code");
      code.hidden = !answer.code;
      const isFix = answer.obstacles.length > 0;
      code.querySelector("h3").textContent = isFix ? "The fix as code" : "Code";
      code.querySelector("code").textContent = answer.code;
      this.showCost(answer);
    }

    describe() {
      const {from, to, dtype, layout, readOnly, mapped} = this.choice;
      const {description} = this.table.layouts.find(({name}) => name === layout);
      const memory = [readOnly && "read-only", mapped && "mapped from a file"].filter(Boolean);
      return `${this.nameOf(from)} → ${this.nameOf(to)}: ${[dtype, description, ...memory].join(", ")}`;
    }

    showCost({verdict, cost}) {
      const list = this.find(".cost dl");
      this.find(".cost").hidden = verdict === "refused";
      list.replaceChildren();
      if (!cost) {
        this.find(".cost p").textContent = "This pair has not been measured.";
        return;
      }
      const most = Math.max(cost.ours, cost.theirs);
      const calls = [[`numpack.share(x, "${this.choice.to}")`, cost.ours], [cost.call, cost.theirs]];
      for (const [call, ns] of calls) {
        const term = document.createElement("dt");
        term.append(element("code", call));
        const value = element("dd", formatTime(ns));
        value.style.setProperty("--part", ns / most);
        list.append(term, value);
      }
      const copied = verdict === "copied"
        ? ` This choice copies ${formatBytes(this.table.bytes(this.choice, this.elements))} besides.` : "";
      this.find(".cost p").textContent = `Measured with ${MEASURED}.${copied}`;
    }

    showOthers() {
      const items = this.table.targets.map((to) => {
        const {mark, kind, title} = VERDICTS[this.table.answer({...this.choice, to}).verdict];
        const button = element("button", "");
        button.type = "button";
        button.dataset.verdict = kind;
        button.dataset.to = to;
        button.append(mark, " ", this.nameOf(to), element("span", ` ${title}`));
        if (to === this.choice.to) button.setAttribute("aria-current", "true");
        button.addEventListener("click", () => {
          this.choose({to});
          this.find(`.others [data-to="${to}"]`).focus();
        });
        const item = document.createElement("li");
        item.append(button);
        return item;
      });
      this.find(".others ul").replaceChildren(...items);
    }

    showMissing() {
      const {dtypes, layouts, flags} = this.table.missing(this.choice);
      const names = {readOnly: "read-only", mapped: "mapped from a file"};
      const entries = [
        ...dtypes.map(({names, reason}) => [names.join(", "), reason]),
        ...layouts.map(({names, reason}) => [`${this.choice.dtype} as ${names.join(", ")}`, reason]),
        ...flags.map(({names: [flag], reason}) =>
          [`${this.choice[flag] ? "not " : ""}${names[flag]}`, reason]),
      ];
      this.find(".missing summary").textContent =
        `What cannot be chosen from ${this.nameOf(this.choice.from)}, and why`;
      describeIn(this.find(".missing dl"), entries);
    }
  }

  function element(name, text) {
    const made = document.createElement(name);
    made.textContent = text;
    return made;
  }

  function describeIn(list, entries) {
    list.replaceChildren(...entries.flatMap(([term, text]) => [element("dt", term), element("dd", text)]));
  }

  /** Put options into a select, in groups if they name one; those with `why` are disabled. */
  function fill(select, options, value) {
    const groups = new Map();
    for (const {name, label, group, why} of options) {
      const option = new Option(label ?? name, name, false, name === value);
      option.disabled = Boolean(why);
      option.title = why ?? "";
      groups.set(group, [...(groups.get(group) ?? []), option]);
    }
    select.replaceChildren(...[...groups].flatMap(([label, those]) => {
      if (!label) return those;
      const group = document.createElement("optgroup");
      group.label = label;
      group.append(...those);
      return [group];
    }));
  }

  /** Follow the color scheme of the site, if it is known; else the system's is used. */
  function followSite() {
    const host = () => {
      try {
        return parent === window ? null : parent.document.body;
      } catch { // of another origin
        return null;
      }
    };
    const stored = () => {
      try {
        const key = Object.keys(localStorage).find((name) => name.endsWith("__palette"));
        return key && JSON.parse(localStorage.getItem(key)).color?.scheme;
      } catch {
        return null;
      }
    };
    const body = host();
    const apply = () => {
      const scheme = body ? body.dataset.mdColorScheme : stored();
      if (scheme) document.documentElement.dataset.mdColorScheme = scheme;
    };
    apply();
    if (body) new MutationObserver(apply).observe(body, {attributes: true});
  }

  if (document.body.classList.contains("will-it-copy-page")) {
    followSite();
  }
  const table = new Conversions(globalThis.conversions);
  for (const root of document.querySelectorAll("[data-will-it-copy]")) new Page(root, table);
})();
