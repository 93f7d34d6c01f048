"""The API pages: docstrings are plain text; here they become reStructuredText with nothing in them taken for markup."""

import re

#: What stays as it is: ``code`` in double backticks.
_CODE = re.compile(r"(``.+?``)")
_MARKUP = re.compile(r"([\\*`|]|(?<=\w)_(?!\w)|(?<=\s)_(?=\s))")


def plain(line):
    """A line of plain text with what reStructuredText would take for markup escaped: "x_ *y" -> "x\\_ \\*y"."""
    return "".join(part if part.startswith("``") else _MARKUP.sub(r"\\\1", part) for part in _CODE.split(line))


def _docstring(app, what, name, obj, options, lines):
    lines[:] = [plain(line) for line in lines]
    if lines and what in ("function", "class", "method", "attribute", "property", "data") and lines[-1]:
        lines.append("")


def _signature(app, what, name, obj, options, signature, returns):
    """Addresses of functions and long defaults say nothing; the class of a dataclass's field does."""
    if signature:
        signature = re.sub(r"<(?:function|class|object) ?'?([\w.]+)'?[^>]*>", r"\1", signature)
    return signature, returns


def setup(app):
    app.connect("autodoc-process-docstring", _docstring)
    app.connect("autodoc-process-signature", _signature)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
