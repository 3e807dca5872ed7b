"""A page's colours in the browser, and how far apart two of them are."""


def colours_of(page, *names):
    """Return custom property -> red, green, blue as the browser computes them."""
    return page.evaluate("""names => Object.fromEntries(names.map(name => {
        const probe = document.createElement("i");
        probe.style.color = `var(--${name})`;
        document.body.append(probe);
        const found = getComputedStyle(probe).color.match(/[\\d.]+/g).map(Number);
        probe.remove();
        return [name, found];
    }))""", names)


def contrast(one, other):
    """Contrast ratio of two sRGB colours as WCAG 2.2 defines it."""
    def luminance(colour):
        parts = [value / 255 for value in colour]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
                  for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)
