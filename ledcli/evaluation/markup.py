"""HTML and SVG by elements, so that text from file names and tags is always escaped."""

from html import escape


class Markup(str):
    """Text that is HTML already; `element` escapes all other text."""

    __slots__ = ()


def element(name: str, /, *children: str, **attributes: str | float | bool | None) -> Markup:
    """Return an element.

    Parameters
    ----------
    name : str
        Of the element.
    *children : str
        Escaped unless they are `Markup`.
    **attributes : str, float, bool or None
        Values are escaped. An underscore stands for a hyphen and is cut off at the end
        (``class_``); True is an attribute without value, False and None are left out.
    """
    parts = [name]
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            parts.append(key)
        elif value is not None and value is not False:
            text = f"{value:.6g}" if isinstance(value, float) else str(value)
            parts.append(f'{key}="{escape(text)}"')
    opening = f"<{' '.join(parts)}>"
    return Markup(opening if name in _EMPTY else f"{opening}{join(*children)}</{name}>")


def join(*children: str) -> Markup:
    """Return children one after the other, escaped unless they are `Markup`."""
    return Markup(
        "".join(str(c) if isinstance(c, Markup) else escape(c, quote=False) for c in children)
    )


_EMPTY = frozenset({"br", "img", "input", "link", "meta"})
"""Elements that have no closing tag."""
