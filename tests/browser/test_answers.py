"""The answers of the page are those of `explain` for arrays that are made as the page says."""

from __future__ import annotations

import os
import random
import warnings

import pytest
from conversions.arrays import DTYPES, MEMORY, Impossible
from conversions.outcomes import outcome
from conversions.sources import HOLDERS, Sources
from conversions.table import ALL_LAYOUTS
from support.each import assert_each

from numpack import CopyWarning

SEED = int(os.environ.get("SAMPLE_SEED", random.randrange(2**32)))
SAMPLES = int(os.environ.get("SAMPLES", "300"))
TITLES = {
    "shared": "Shared",
    "mapped copy-on-write": "Mapped copy-on-write",
    "copied": "Copied",
    "refused": "Refused",
}
# Chooses by the link, and returns what the page shows.
SHOWN = """async fragment => {
  if (location.hash !== fragment) {
    const changed = new Promise(done => addEventListener("hashchange", done, {once: true}));
    location.hash = fragment;
    await changed;
  }
  const text = selector => document.querySelector(selector).innerText;
  const field = name => document.querySelector(`[name=${name}]`);
  const listed = [...document.querySelectorAll(".obstacles > *")].map(each => each.innerText);
  return {
    title: text(".title"), text: text(".text"), caution: text(".caution"), listed,
    code: document.querySelector(".code").hidden ? "" : text(".code code"),
    chosen: ["from", "to", "dtype", "layout"].map(name => field(name).value),
    memory: ["readOnly", "mapped"].map(name => field(name).checked),
    disabled: [...document.querySelectorAll("option:disabled")].map(each => each.value),
    flagsDisabled: ["readOnly", "mapped"].filter(name => field(name).disabled),
  };
}"""


def samples(table):
    """Return random choices, equally many of each verdict that the table has them of."""
    draw = random.Random(SEED)
    targets = table.data["targets"]
    found = []
    by_verdict = dict.fromkeys((*TITLES, "impossible"), 0)
    while len(found) < SAMPLES:
        source, dtype = draw.choice(list(HOLDERS)), draw.choice(DTYPES)
        layout, memory = draw.choice(ALL_LAYOUTS), draw.choice(MEMORY)
        target = draw.choice(targets)
        cell = table.cell(source, dtype, layout.name, memory)
        verdict = "impossible" if isinstance(cell, str) else cell[targets.index(target)].verdict
        if by_verdict[verdict] * len(by_verdict) < SAMPLES:
            by_verdict[verdict] += 1
            found.append((source, target, dtype, layout, memory))
    return found


def fragment(source, target, dtype, layout, memory) -> str:
    kinds = [name for name, is_so in zip(("read-only", "mapped"), memory, strict=True) if is_so]
    chosen = f"#from={source}&to={target}&dtype={dtype}&layout={layout.name}"
    return f"{chosen}&memory={'+'.join(kinds)}&n={max(1, layout.size)}"


@pytest.fixture
def sources(tmp_path):
    with Sources(tmp_path) as sources, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield sources


def test_answers_are_those_of_explain(open_page, table, sources):
    page = open_page()

    def check(source, target, dtype, layout, memory):
        shown = page.evaluate(SHOWN, fragment(source, target, dtype, layout, memory))
        is_chosen = shown["chosen"] == [source, target, dtype, layout.name]
        is_chosen = is_chosen and shown["memory"] == list(memory)
        try:
            x, why = sources.hold(source, dtype, layout.name, memory), None
        except Impossible as reason:
            x, why = None, str(reason)
        assert is_chosen == (why is None)
        if why is not None:
            assert table.cell(source, dtype, layout.name, memory) == why
            return
        expected = outcome(x, target)
        listed = [
            text
            for why, fix in expected.obstacles
            for text in (["Why", why] + (["Fix", fix] if fix else []))
        ]
        assert shown["title"] == TITLES[expected.verdict]
        assert shown["listed"] == listed
        assert shown["caution"] == (
            f"ReadOnlyWarning: {expected.caution}." if expected.caution else ""
        )
        if expected.verdict == "copied":
            assert shown["text"].startswith(f"{in_bytes(expected.nbytes)} are copied")
        run(shown["code"], x, target, expected.verdict)

    try:
        assert_each(samples(table), check)
    except AssertionError as error:
        error.add_note(f"SAMPLE_SEED={SEED} draws the same choices")
        raise


def in_bytes(count: int) -> str:
    """Format a number of bytes as the page does."""
    if count < 1000:
        return f"{count} byte{'s' * (count != 1)}"
    return f"{float(f'{count / 1000:.3g}'):g} kB"


def run(code: str, x, target: str, verdict: str) -> None:
    """Run the code that the page shows: it may copy where it says so, but never silently."""
    import jax

    if not code:
        assert verdict == "refused"
        return
    before = jax.config.jax_enable_x64
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", CopyWarning)
            exec(compile(code, "<page>", "exec"), {"x": x})
    finally:
        jax.config.update("jax_enable_x64", before)


def test_sample_has_all_verdicts(table):
    """The sample is not empty of what the page has to tell."""
    seen = set()
    for source, target, dtype, layout, memory in samples(table):
        cell = table.cell(source, dtype, layout.name, memory)
        if not isinstance(cell, str):
            seen.add(cell[table.data["targets"].index(target)].verdict)
    assert seen == set(TITLES)
