"""The API pages: docstrings are plain text; here they become reStructuredText with nothing in them taken for markup."""

import re

#: What stays as it is: ``code`` in double backticks.
_CODE = re.compile(r"(``.+?``)")
#: A line's first word that would start a numbered list: "2.", "a)", "(iv)", "mm.".
_ENUMERATOR = re.compile(r"^(\s*)(?=\(?\w{1,8}[.)](?:\s|$))")
_MARKUP = re.compile(r"([\\*`|]|_(?![^\W_]))")


def plain(line):
    """A line of plain text with what reStructuredText would take for markup escaped: "x_ *y" -> "x\\_ \\*y"."""
    parts = _CODE.split(line)  # text and code in turn
    for place in range(0, len(parts), 2):
        text = _MARKUP.sub(r"\\\1", parts[place])
        before = "\\ " if place and re.match(r"\w", text) else ""  # "``Result``s": no blank where none was
        after = "\\ " if place + 1 < len(parts) and re.search(r"\w$", text) else ""
        parts[place] = before + text + after
    escaped = "".join(parts)
    return _ENUMERATOR.sub(r"\1\\", escaped)


def _docstring(app, what, name, obj, options, lines):
    lines[:] = [plain(line) for line in lines]
    if what == "module":
        lines[:0] = [f".. rubric:: {name}", "   :class: module-name", ""]  # several modules share a page
    if lines and what in ("function", "class", "method", "attribute", "property", "data") and lines[-1]:
        lines.append("")


def _skipped(app, what, name, obj, skip, options):
    """The fields of a named tuple: its own docstring says what they are."""
    return True if (getattr(obj, "__doc__", None) or "").startswith("Alias for field number") else None


def setup(app):
    app.connect("autodoc-skip-member", _skipped)
    app.connect("autodoc-process-docstring", _docstring)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
