"""SVG elements as markup.  Every name and value is escaped here, so that no text of a trace becomes part of a page."""

from markupsafe import Markup, escape


def element(tag: str, *content: str, **attributes: str | float) -> Markup:
    """An element; content that is no markup is escaped, ``stroke_width=2`` becomes ``stroke-width="2"``.

    A trailing underscore is left out, for attributes that Python has other plans for (``class_``).
    """
    named = Markup("").join(
        Markup(' {}="{}"').format(name.removesuffix("_").replace("_", "-"), shown(value))
        for name, value in attributes.items()
    )
    inner = Markup("").join(escape(part) for part in content)
    return (
        Markup("<{0}{1}>{2}</{0}>").format(Markup(tag), named, inner)
        if inner
        else Markup("<{}{}/>").format(Markup(tag), named)
    )


def shown(value: str | float) -> str:
    """A coordinate with as many digits as a screen shows; text as it is."""
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")


def percent(share: float) -> str:
    """A coordinate as a share of the width that the chart is given, so that charts fit a phone and text keeps its
    size.
    """
    return f"{shown(100 * share)}%"


def ink(color: str) -> str:
    """Black or white, whichever is read more easily on a colour ``#RRGGBB`` (WCAG's relative luminance)."""
    channels = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    # Contrast with black is (L + 0.05) / 0.05, with white 1.05 / (L + 0.05).
    return "#000000" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "#ffffff"
