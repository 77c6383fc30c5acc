// Tests of docs/will-it-copy/logic.js without a page, by Node's test runner.
"use strict";

const assert = require("node:assert");
const fs = require("node:fs");
const path = require("node:path");
const {describe, it} = require("node:test");
const vm = require("node:vm");

const folder = path.join(__dirname, "..", "..", "docs", "will-it-copy");
const {Conversions, DEFAULT, formatBytes, formatTime, fromHash, toHash} =
  require(path.join(folder, "logic.js"));

vm.runInThisContext(fs.readFileSync(path.join(folder, "data.js"), "utf8"));
const table = new Conversions(globalThis.conversions);

/** Call a function with every choice of arrays. */
function everyChoice(call) {
  for (const from of table.sources) {
    for (const dtype of table.dtypes) {
      for (const {name: layout} of table.layouts) {
        for (const each of table.ofMemory({...DEFAULT, from, dtype, layout})) call(each);
      }
    }
  }
}

describe("the table", () => {
  it("has an answer or a reason for every choice", () => {
    let answers = 0;
    everyChoice((choice) => {
      const answer = table.answer(choice);
      assert.ok(answer.reason || answer.verdict, JSON.stringify(choice));
      answers += Boolean(answer.verdict);
    });
    assert.ok(answers > 5000);
  });

  it("has a reason for what is copied or refused, and bytes for what is copied", () => {
    everyChoice((choice) => {
      for (const to of table.targets) {
        const {reason, verdict, obstacles, nbytes} = table.answer({...choice, to});
        if (reason) continue;
        assert.equal(obstacles.length > 0, ["copied", "refused"].includes(verdict));
        if (nbytes) assert.notEqual(verdict, "shared");
        for (const each of obstacles) assert.ok(each.reason);
      }
    });
  });

  it("finds the nearest choice, which exists, and is the choice itself if that exists", () => {
    everyChoice((choice) => {
      const nearest = table.nearest(choice);
      assert.ok(table.exists(nearest));
      if (table.exists(choice)) assert.deepEqual(nearest, choice);
      assert.equal(nearest.from, choice.from);
    });
  });

  it("names a reason for everything that cannot be chosen", () => {
    for (const from of table.sources) {
      const choice = table.nearest({...DEFAULT, from});
      const missing = table.missing(choice);
      const listed = missing.layouts.flatMap(({names}) => names);
      for (const {name: layout} of table.layouts) {
        const can = table.ofMemory({...choice, layout}).some((each) => table.exists(each));
        assert.equal(listed.includes(layout), !can, `${from} ${layout}`);
      }
      for (const {reason} of [...missing.dtypes, ...missing.layouts, ...missing.flags]) {
        assert.ok(reason);
      }
    }
  });

  it("scales bytes with the number of elements", () => {
    const choice = {...DEFAULT, layout: "neg"};
    assert.equal(table.bytes(choice, 1000), 4000);
    assert.equal(table.bytes({...choice, layout: "C"}, 1000), 0);
    const bits = table.nearest({...DEFAULT, from: "arrow", dtype: "bool", layout: "1-D"});
    assert.equal(table.bytes(bits, 1001), 126);
  });

  it("imports what code uses", () => {
    const code = table.answer({...DEFAULT, layout: "neg"}).code;
    assert.match(code, /^import numpy as np\nimport numpack\n\nx = np\.asc/);
    assert.match(code, /share\(x, "torch", copy=False\)$/);
  });
});

describe("a link", () => {
  it("holds every choice", () => {
    everyChoice((choice) => {
      if (!table.exists(choice)) return;
      const found = fromHash(toHash(choice, 77), table, 5);
      assert.deepEqual(found, {choice, elements: 77});
    });
  });

  it("may be empty, damaged or hostile", () => {
    for (const hash of ["", "#", "#from=", "#from=constructor&to=__proto__", "#n=1e99", "#%%%&=&&"]) {
      assert.deepEqual(fromHash(hash, table, 5), {choice: DEFAULT, elements: 5});
    }
  });
});

describe("figures", () => {
  it("have three digits and a unit", () => {
    assert.equal(formatBytes(1), "1 byte");
    assert.equal(formatBytes(999), "999 bytes");
    assert.equal(formatBytes(12345678), "12.3 MB");
    assert.equal(formatBytes(4e12), "4 TB");
    assert.equal(formatTime(58), "58 ns");
    assert.equal(formatTime(1380), "1.38 µs");
    assert.equal(formatTime(2345678), "2.35 ms");
  });
});
