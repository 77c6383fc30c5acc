"""The page is usable: by keyboard, on a phone, in the dark, by a link, and read aloud."""

from __future__ import annotations

import re

import pytest
from support.each import assert_each

FRAGMENTS = {
    "Shared": "#from=numpy&to=torch&dtype=float32&layout=C&memory=read-only",
    "Mapped copy-on-write": "#from=store&to=torch&dtype=float32&layout=C",
    "Copied": "#from=arrow&to=polars&dtype=string&layout=1-D",
    "Refused": "#from=numpy&to=cuda_array_interface&dtype=datetime64[ns]&layout=mask",
}
# Texts whose contrast with the background is less than WCAG's 4.5, with their contrast.
FAINT = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = color => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = color => {
    const [r, g, b] = rgba(color).map(part => part / 255)
      .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = element => {
    for (let each = element; each; each = each.parentElement) {
      const color = getComputedStyle(each).backgroundColor;
      if (rgba(color)[3] === 255) return color;
    }
    return "white";
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest("script, :disabled")) continue;
    const [a, b] = [light(getComputedStyle(element).color), light(ground(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) faint.push([walker.currentNode.data, contrast]);
  }
  return faint;
}"""
BACKGROUND = "() => getComputedStyle(document.body).backgroundColor"
LIGHT, DARK = "rgb(255, 255, 255)", "rgb(20, 23, 26)"


def answer(page) -> str:
    return page.locator(".title").inner_text()


def test_keyboard_alone(open_page):
    """Each control is reached by Tab in the order of the page, and changes the answer."""
    page = open_page()
    reached = []

    def tab() -> str:
        page.keyboard.press("Tab")
        name = page.evaluate("document.activeElement.name ?? document.activeElement.tagName")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", name
        reached.append(name)
        return name

    while tab() != "from":
        assert len(reached) < 5
    page.keyboard.type("Arrow")
    assert page.locator("[name=from]").input_value() == "arrow"
    assert tab() == "swap"
    page.keyboard.press("Enter")
    assert page.locator("[name=to]").input_value() == "arrow"
    assert tab() == "to"
    page.keyboard.type("Pol")
    assert tab() == "dtype"
    page.keyboard.type("bool")
    assert tab() == "layout"
    page.keyboard.press("ArrowDown")
    assert page.locator("[name=layout]").input_value() == "1-D"
    assert tab() == "count"
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("5000")
    assert tab() == "mapped"  # PyTorch has no read-only tensors
    page.keyboard.press("Space")
    assert page.locator("[name=mapped]").is_checked()
    assert tab() == "copy"
    assert answer(page) == "Copied"
    assert "5 kB are copied" in page.locator(".text").inner_text()
    while tab() != "SUMMARY":
        assert len(reached) < 40
    page.keyboard.press("Enter")
    assert page.locator(".missing dl").is_visible()


def test_a_framework_of_the_list_is_chosen_by_keyboard(open_page):
    page = open_page(FRAGMENTS["Refused"])
    page.locator('.others [data-to="numpy"]').focus()
    page.keyboard.press("Enter")
    assert page.locator("[name=to]").input_value() == "numpy"
    assert page.evaluate("document.activeElement.dataset.to") == "numpy"
    assert page.locator(".others [aria-current]").count() == 1


@pytest.mark.parametrize("width", [320, 390])
def test_nothing_is_wider_than_a_phone(open_page, width):
    page = open_page(viewport={"width": width, "height": 700}, is_mobile=True, has_touch=True)
    page.locator("summary").click()

    def check(title, fragment):
        page.goto(page.url.partition("#")[0] + fragment)
        page.wait_for_function(f"document.querySelector('.title').innerText == {title!r}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        sizes = "els => els.map(e => e.getBoundingClientRect()).map(r => [r.width, r.height])"
        for size in page.locator("button, select").evaluate_all(sizes):
            assert min(size) >= 43.5, "too small for a finger"

    assert_each(FRAGMENTS.items(), check)


@pytest.mark.parametrize(("scheme", "background"), [("light", LIGHT), ("dark", DARK)])
def test_contrast_in_both_schemes(open_page, scheme, background):
    page = open_page(color_scheme=scheme)
    page.locator("summary").click()

    def check(title, fragment):
        page.goto(page.url.partition("#")[0] + fragment)
        page.wait_for_function(f"document.querySelector('.title').innerText == {title!r}")
        assert page.evaluate(BACKGROUND) == background
        assert page.evaluate(FAINT) == []

    assert_each(FRAGMENTS.items(), check)


def test_toggle_of_the_site_precedes_the_scheme_of_the_system(open_page):
    page = open_page(url="http://localhost/host/", color_scheme="light")
    frame = page.frames[1]
    frame.wait_for_selector(".title")
    assert frame.evaluate(BACKGROUND) == DARK
    page.evaluate("document.body.dataset.mdColorScheme = 'default'")
    frame.wait_for_function(f"({BACKGROUND})() === '{LIGHT}'")


def test_stored_palette_of_the_site_is_used(open_page):
    page = open_page(url="http://localhost/docs/index.html", color_scheme="light")
    palette = 'localStorage.setItem(\'/.__palette\', \'{"color":{"scheme":"slate"}}\')'
    page.evaluate(palette)
    page.reload()
    assert page.evaluate(BACKGROUND) == DARK


def test_link_holds_the_choice(open_page):
    page = open_page()
    chosen = {"From": "numpy", "To": "jax", "dtype": "complex64", "Layout": "F"}
    for label, value in chosen.items():
        page.get_by_role("combobox", name=label, exact=True).select_option(value)
    page.get_by_label("read-only").check()
    page.get_by_role("spinbutton", name="Elements").fill("12345")
    shown = page.locator(".answer").inner_text()
    again = open_page(page.url[page.url.index("#") :])
    assert again.url == page.url
    assert again.locator(".answer").inner_text() == shown
    again.evaluate("location.hash = '#from=torch&to=nothing&dtype=bfloat16&n=-3'")
    again.wait_for_function("document.querySelector('[name=from]').value === 'torch'")
    assert again.locator("[name=dtype]").input_value() == "bfloat16"
    assert again.get_by_role("spinbutton", name="Elements").input_value() == "100000"


def test_code_is_copied(open_page):
    page = open_page(FRAGMENTS["Shared"])
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("button[name=copy]").click()
    page.wait_for_function("document.querySelector('[name=copy]').innerText === 'Copied'")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator(".code code").inner_text()
    assert 'numpack.share(x, "torch", copy=False)' in copied


def test_answer_is_announced(open_page):
    """A live region has the whole answer, and every control a name; the page has a language."""
    page = open_page()
    region = page.get_by_role("status")
    assert region.get_attribute("aria-live") == "polite"
    page.get_by_role("combobox", name="Layout").select_option("neg")
    assert "Copied" in region.inner_text()
    assert "it has negative strides" in region.inner_text()
    assert page.title().startswith("Will it copy?")
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("h1").count() == 1
    for role in ("combobox", "checkbox", "spinbutton", "button"):
        for each in page.get_by_role(role).all():
            assert re.match(rf"- {role} \"[^\"]+\"", each.aria_snapshot())


def test_what_cannot_be_chosen_is_listed_with_a_reason(open_page):
    page = open_page("#from=jax&to=torch&dtype=float32&layout=C")
    listed = page.locator(".missing dl").text_content()
    disabled = page.locator("option:disabled")
    assert disabled.count() > 20
    for each in disabled.all():
        assert each.get_attribute("title") in listed
        assert each.get_attribute("value") in listed
    assert page.get_by_label("read-only").is_disabled()
    assert "JAX has no writable arrays" in listed


def test_without_a_cost_it_says_so(open_page):
    page = open_page("#from=duckdb&to=torch")
    assert page.locator(".cost p").inner_text().startswith("This pair has not been measured")
    page = open_page("#from=numpy&to=torch")
    assert page.locator(".cost dd").count() == 2
