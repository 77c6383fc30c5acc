// Return the texts of a page whose contrast with what is behind them is below WCAG's AA.
() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parse = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [...[0, 1, 2].map((n) => top[n] * top[3] + below[n] * (1 - top[3])), 1];
  const luminance = (color) => {
    const [r, g, b] = color.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    const box = element.getBoundingClientRect();
    if (!texts.currentNode.textContent.trim() || box.width < 2 || box.height < 2) continue;
    if (!element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    let opacity = 1;
    const above = [];
    for (let each = element; each; each = each.parentElement) {
      above.push(parse(getComputedStyle(each).backgroundColor));
      opacity *= parseFloat(getComputedStyle(each).opacity);
    }
    const ground = above.reduceRight((below, top) => over(top, below), [255, 255, 255, 1]);
    const style = getComputedStyle(element);
    const color = parse(style.color);
    color[3] *= opacity;
    const [dark, light] = [luminance(over(color, ground)), luminance(ground)].sort((a, b) => a - b);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && parseInt(style.fontWeight) >= 700);
    if ((light + 0.05) / (dark + 0.05) < (isLarge ? 3 : 4.5)) {
      found.add(`${element.tagName}.${element.className}: ${texts.currentNode.textContent.trim().slice(0, 40)}`);
    }
  }
  return [...found];
}
