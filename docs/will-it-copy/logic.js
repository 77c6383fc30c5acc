// Answers from the table of conversions (data.js), without a page. tools/conversions/table.py
// describes the table. Runs in browsers as a script, and in Node for its tests.
"use strict";

(() => {
  const DEFAULT = {
    from: "numpy", to: "torch", dtype: "float32", layout: "C", readOnly: false, mapped: false,
  };
  const MEASURED = "float32, 100,000 elements in memory that both can share";
  const IMPORTS = {
    jax: "import jax",
    np: "import numpy as np",
    numpack: "import numpack",
    pa: "import pyarrow as pa",
    pl: "import polars as pl",
    safetensors: "import numpy as np, safetensors.numpy",
    scipy: "import scipy.sparse",
    tf: "import tensorflow as tf",
  };

  /** The table of conversions. A choice has the properties of `DEFAULT`. */
  class Conversions {
    constructor(data) {
      this.data = data;
      this.sources = Object.keys(data.table);
      this.targets = data.targets;
      this.dtypes = data.dtypes;
      this.layouts = data.layouts.map(([name, description, size]) => ({name, description, size}));
    }

    label(name) {
      return this.data.labels[name];
    }

    /** Return the index of a row, or `{reason}` if there is no such array. */
    cell({from, dtype, layout, readOnly, mapped}) {
      const {table, grids, strips, memory, texts} = this.data;
      const grid = grids[table[from][this.dtypes.indexOf(dtype)]];
      const kind = memory.findIndex(([ro, map]) => ro === readOnly && map === mapped);
      const strip = strips[grid[this.layouts.findIndex(({name}) => name === layout)]];
      const cell = strip[kind];
      return cell < 0 ? {reason: texts[-1 - cell]} : cell;
    }

    exists(choice) {
      return typeof this.cell(choice) === "number";
    }

    /** Return what happens: `{verdict, obstacles, caution, code, nbytes, cost}`, or `{reason}`. */
    answer(choice) {
      const cell = this.cell(choice);
      if (typeof cell !== "number") return cell;
      const {rows, outcomes, verdicts, texts, costs} = this.data;
      const outcome = outcomes[rows[cell][this.targets.indexOf(choice.to)]];
      const [verdict, nbytes, reasons, fixes, caution, code] = outcome;
      const cost = costs[choice.from]?.[choice.to];
      return {
        verdict: verdicts[verdict],
        nbytes,
        obstacles: reasons.map((reason, i) => ({reason: texts[reason], fix: texts[fixes[i]]})),
        caution: texts[caution],
        code: withImports(texts[code].replaceAll("%T", choice.to)),
        cost: cost && {call: cost[0], ours: cost[1], theirs: cost[2]},
      };
    }

    /** Return the number of bytes that are copied of some elements of the chosen layout. */
    bytes(choice, elements) {
      const size = this.size(choice);
      const {nbytes} = this.answer(choice);
      return size > 1 ? Math.ceil((nbytes / size) * elements) : nbytes;
    }

    /** Return the number of elements of the arrays that the table was made with. */
    size({layout}) {
      return this.layouts.find(({name}) => name === layout).size;
    }

    /** Return the choices that differ in the kind of memory. */
    ofMemory(choice) {
      return this.data.memory.map(([readOnly, mapped]) => ({...choice, readOnly, mapped}));
    }

    /** Return the choice, or an existing one that differs in as little as possible. */
    nearest(choice) {
      const unique = (first, all) => [...new Set([...first, ...all])];
      const dtypes = unique([choice.dtype, "float32"], this.dtypes);
      const layouts = unique([choice.layout, "C", "1-D"], this.layouts.map(({name}) => name));
      const changed = (each) =>
        (each.readOnly !== choice.readOnly) + (each.mapped !== choice.mapped);
      for (const dtype of dtypes) {
        for (const layout of layouts) {
          const found = this.ofMemory({...choice, dtype, layout})
            .filter((each) => this.exists(each))
            .sort((a, b) => changed(a) - changed(b));
          if (found.length) return found[0];
        }
      }
      throw new Error(`there are no arrays of ${choice.from}`);
    }

    /** Return why a dtype cannot be chosen; an empty string if it can. */
    whyNotDtype(choice, dtype) {
      const all = this.layouts.flatMap(({name}) =>
        this.ofMemory({...choice, dtype, layout: name}));
      if (all.some((each) => this.exists(each))) return "";
      const plain = this.nearest({...choice, layout: "1-D"});
      return this.cell({...plain, dtype, layout: "1-D"}).reason;
    }

    /** Return why a layout cannot be chosen with the dtype; an empty string if it can. */
    whyNotLayout(choice, layout) {
      const all = this.ofMemory({...choice, layout});
      if (all.some((each) => this.exists(each))) return "";
      const {readOnly, mapped} = this.nearest({...choice, layout: "1-D"});
      return this.cell({...choice, layout, readOnly, mapped}).reason;
    }

    /** Return why `readOnly` or `mapped` cannot be changed; an empty string if it can. */
    whyNotFlag(choice, flag) {
      const other = {...choice, [flag]: !choice[flag]};
      return this.exists(other) ? "" : this.cell(other).reason;
    }

    /** Return what cannot be chosen from a framework: `[{reason, names}]` of each control. */
    missing(choice) {
      const grouped = (names, why) => {
        const groups = new Map();
        for (const name of names) {
          const reason = why(name);
          if (reason) groups.set(reason, [...(groups.get(reason) ?? []), name]);
        }
        return [...groups].map(([reason, those]) => ({reason, names: those}));
      };
      const flags = ["readOnly", "mapped"];
      return {
        dtypes: grouped(this.dtypes, (name) => this.whyNotDtype(choice, name)),
        layouts: grouped(
          this.layouts.map(({name}) => name), (name) => this.whyNotLayout(choice, name)),
        flags: grouped(flags, (name) => this.whyNotFlag(choice, name)),
      };
    }
  }

  function withImports(code) {
    if (!code) return "";
    const used = Object.keys(IMPORTS).filter((name) => new RegExp(`\\b${name}\\.`).test(code));
    const lines = used.map((name) => IMPORTS[name]);
    const needed = lines.filter((line) => !lines.some((other) => other !== line && other.startsWith(line)));
    return `${needed.join("\n")}\n\n${code}`;
  }

  /** Return the fragment of a link that holds a choice. */
  function toHash(choice, elements) {
    const parts = new URLSearchParams();
    for (const name of ["from", "to", "dtype", "layout"]) parts.set(name, choice[name]);
    const flags = ["readOnly", "mapped"].filter((name) => choice[name]);
    if (flags.length) parts.set("memory", flags.join(" ").toLowerCase().replace("only", "-only"));
    if (elements !== undefined) parts.set("n", String(elements));
    return `#${parts}`;
  }

  /** Return the choice and the number of elements that a fragment holds; unknown names are left out. */
  function fromHash(hash, table, elements) {
    const parts = new URLSearchParams(hash.replace(/^#/, ""));
    const memory = (parts.get("memory") ?? "").split(" ");
    const known = {
      from: table.sources,
      to: table.targets,
      dtype: table.dtypes,
      layout: table.layouts.map(({name}) => name),
    };
    const choice = {...DEFAULT, readOnly: memory.includes("read-only"), mapped: memory.includes("mapped")};
    for (const [name, values] of Object.entries(known)) {
      if (values.includes(parts.get(name))) choice[name] = parts.get(name);
    }
    const n = Number(parts.get("n"));
    return {
      choice: table.nearest(choice),
      elements: Number.isSafeInteger(n) && n > 0 ? n : elements,
    };
  }

  function formatBytes(bytes) {
    const units = ["bytes", "kB", "MB", "GB", "TB", "PB"];
    let value = bytes;
    let unit = 0;
    for (; value >= 1000 && unit < units.length - 1; unit += 1) value /= 1000;
    if (unit === 0) return `${bytes} ${bytes === 1 ? "byte" : "bytes"}`;
    return `${Number(value.toPrecision(3))} ${units[unit]}`;
  }

  function formatTime(ns) {
    if (ns < 1000) return `${Number(ns.toPrecision(3))} ns`;
    if (ns < 1e6) return `${Number((ns / 1e3).toPrecision(3))} µs`;
    return `${Number((ns / 1e6).toPrecision(3))} ms`;
  }

  const logic = {Conversions, DEFAULT, MEASURED, formatBytes, formatTime, fromHash, toHash};
  if (typeof module === "object") module.exports = logic;
  else globalThis.willItCopy = logic;
})();
