"""Put plotly.js and MathJax beside the pages, from the installed packages: a reader needs no network."""

import importlib.util
import shutil
from pathlib import Path

from plotly.offline import get_plotlyjs

_MATHJAX = ("tex-mml-chtml.js", "output/chtml/fonts")


def _copy(app, exception):
    if exception or app.builder.format != "html":
        return
    for marker in Path(app.outdir).glob(".run-*"):
        marker.unlink()  # it says whose pages these were
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


def _mathjax():
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    if spec is None:
        raise RuntimeError("sphinx-mathjax-offline is not installed: pip install -r requirements.txt")
    return Path(spec.submodule_search_locations[0]) / "static" / "mathjax"


def setup(app):
    app.add_js_file("vendor/plotly.min.js")
    app.connect("build-finished", _copy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
