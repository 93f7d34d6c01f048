"""Put plotly.js and MathJax beside the pages, from the installed packages: a reader needs no network.

Only pages with a plotly figure load plotly.js. What no page asks for is taken out of what the theme brings: maps of its
scripts, fonts in older formats, and two thousand icons.
"""

import importlib.util
import re
import shutil
from pathlib import Path

from plotly.offline import get_plotlyjs

_UNUSED = ("*.map", "*.ttf", "fa-brands-*", "*webpack-macros.html")
_MATHJAX = ("tex-mml-chtml.js", "output/chtml/fonts/woff-v2")
#: One icon in the theme's script: name:[width, height, [other names], "code", "path" or two paths],
_ICON = re.compile(r'("?)([\w-]+)\1:\[\d+,\d+,\[([^\[\]]*)\],"[0-9a-f]+",(?:"[^"]*"|\["[^"]*","[^"]*"\])\],?')


def _copy(app, exception):
    if exception or app.builder.format != "html":
        return
    vendor = Path(app.outdir) / "_static" / "vendor"
    vendor.mkdir(parents=True, exist_ok=True)
    (vendor / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")
    source = _mathjax()
    for name in _MATHJAX:
        target = vendor / "mathjax" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (source / name).is_dir():
            shutil.copytree(source / name, target, dirs_exist_ok=True)
        else:
            shutil.copy(source / name, target)
    for pattern in _UNUSED:
        for path in (Path(app.outdir) / "_static").rglob(pattern):
            path.unlink()
    _thin_icons(Path(app.outdir))


def _thin_icons(site):
    """Of the theme's icons keep those that a page or another script names; 1.4 MB less for a browser to read on each page."""
    script = site / "_static" / "scripts" / "fontawesome.js"
    if not script.exists():
        return
    sources = [path for pattern in ("*.html", "*.js") for path in site.rglob(pattern) if path != script and path.stat().st_size < 1e6]
    used = {name for path in sources for name in re.findall(r"\bfa-([\w-]+)", path.read_text(encoding="utf-8"))}

    def keep(icon):
        others = re.findall(r"[a-z][\w-]*", icon[3])
        return icon[0] if used & {icon[2], *others} else ""

    script.write_text(_ICON.sub(keep, script.read_text(encoding="utf-8")), encoding="utf-8")


def _load_scripts(app, pagename, templatename, context, doctree):
    if "Plotly.newPlot" in context.get("body", ""):
        app.add_js_file("vendor/plotly.min.js", priority=800)
    app.add_js_file("companion.js", priority=801)


def _mathjax():
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    if spec is None:
        raise RuntimeError("sphinx-mathjax-offline is not installed: pip install -r requirements.txt")
    return Path(spec.submodule_search_locations[0]) / "static" / "mathjax"


def setup(app):
    app.connect("html-page-context", _load_scripts)
    app.connect("build-finished", _copy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
