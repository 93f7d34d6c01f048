"""What the notebooks need around the method: checked parameters, figures that work offline, run cards,
and execution by papermill. ``python -m handpose.notebook NOTEBOOK OUTPUT -p name value ...`` executes one.
"""

import argparse
import difflib
import html
import importlib.util
import inspect
import json
import os
import sys
import warnings
from pathlib import Path

from . import colab
from .records import PACKAGE, atomic_path, digest, source_digest, this_commit
from .trouble import line_of

#: Set in the kernels of notebooks that become pages of the book.
_PAGE = "HANDPOSE_PAGE"
# tqdm's plain progress bar is just what is wanted where the widgets are not installed.
warnings.filterwarnings("ignore", message="IProgress not found")
_SAID_PLAINLY = {"ValueError", "FileNotFoundError", "FloatingPointError", "NotFinite"}
_NUMBERS = {"seed": 0, "seeds": 1, "threads": 0}  # 0 threads: as many as there are cores, where a notebook says so
_SWITCHES = ("recorded", "links", "injection", "disentangle", "align", "kcs", "geo", "concat")
_IPYTHON = {"In", "Out", "get_ipython", "exit", "quit", "open"}


def project_path(path):
    """A notebook's path: a relative one is taken from the checkout's root, wherever the notebook runs, "~" is the home; "" is None.

    Raises ValueError for what is no text and no path.

    ``HANDPOSE_RUNS`` in the environment names the folder that stands in for "runs": ``make test`` compares what the
    notebooks show, and must not find there what other commands have trained with more threads.
    """
    if path is None or path == "":
        return None
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"{path!r} is no path: give it as a text")
    if str(path) == "runs":
        path = os.environ.get("HANDPOSE_RUNS") or path
    root = PACKAGE.parent if (PACKAGE.parent / "pyproject.toml").exists() else Path.cwd()
    return root / os.path.expanduser(path)


def whole_number(name, value, least=0):
    """The parameter ``name``'s ``value``. Raises ValueError unless it is an integer, and not smaller than ``least``."""
    if type(value) is not int or value < least:
        raise ValueError(f"{name} is {value!r}: it must be a whole number, {least} or more")
    return value


def check_parameters(namespace, *names):
    """Stop when a parameter was injected that the notebook does not have, a number that is none, or a switch that is neither True nor
    False; papermill itself only warns.

    ``namespace`` is the notebook's ``globals()`` just after the parameters, the first time that they run in a
    kernel: later the notebook's own names stand there too. Raises ValueError that names the right ones, or what is wanted.
    """
    if namespace.get("_parameters_checked"):
        return
    given = {
        name
        for name, value in namespace.items()
        if not name.startswith("_") and name not in _IPYTHON and not inspect.ismodule(value) and not callable(value)
    }
    _refuse_unknown(sorted(given - set(names)), names)
    for name, least in _NUMBERS.items():
        if name in names and name in namespace:
            whole_number(name, namespace[name], least)
    for name in set(_SWITCHES) & set(names) & namespace.keys():
        if type(namespace[name]) is not bool:
            raise ValueError(f"{name} is {namespace[name]!r}: it must be True or False")
    namespace["_parameters_checked"] = names


def _refuse_unknown(unknown, names):
    for name in unknown:
        close = difflib.get_close_matches(name, names, 1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ValueError(f"unknown parameter {name!r}{hint}; this notebook takes {', '.join(names)}")


def show(figure, name, alt, caption=""):
    """Display a plotly figure under the stable id ``name``. ``alt`` says what is drawn, for who can't see it, ``caption`` what to see.

    Without a caption the alternative text stands there too.

    plotly.js comes from the book itself, which loads nothing from the network; from the CDN in Colab.
    """
    from IPython.display import display

    source = "cdn" if colab.on_colab() else False
    drawing = figure.to_html(full_html=False, include_mathjax=False, include_plotlyjs=source, div_id=name,
                             config={"displayModeBar": False, "responsive": True})  # fmt: skip
    said = f' data-caption="{html.escape(caption, quote=True)}"' if caption else ""
    bundle = {
        "text/html": f'<div role="img" aria-label="{html.escape(alt, quote=True)}"{said}>{drawing}</div>',
        "text/plain": f"<figure {name}: {alt}>",
    }
    if _PAGE not in os.environ:  # JupyterLab and VS Code draw from this; a page of the book has no use for it
        bundle["application/vnd.plotly.v1+json"] = json.loads(figure.to_json())
    display(bundle, raw=True)


def show_pictures(figure):
    """Display a matplotlib figure of photographs as JPEG: a fifth of the PNG's size on a page."""
    import base64
    import io

    import matplotlib.pyplot as plt
    from IPython.display import display

    buffer = io.BytesIO()
    figure.savefig(buffer, format="jpeg", dpi=100, pil_kwargs={"quality": 70, "optimize": True, "progressive": True})
    plt.close(figure)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    display({"image/jpeg": encoded, "text/plain": "<pictures>"}, raw=True)


def show_card(card, unfolded=True):
    """Display a run card: which run, on what, how long it took. The values are escaped."""
    from IPython.display import display

    from .pretrained import started_from
    from .results import dataset_name

    commit = card["commit"][:12] + (" with local changes" if card["dirty"] else "") if card["commit"] else "not in git"
    lines = {
        "run": f"row {card['row']}, stage {card['stage']}, preset {card['preset']}, dataset {dataset_name(card)}, seed {card['seed']}",
        "data": f"{card['frames']['training']} training and {card['frames']['evaluation']} evaluation frames, "
        f"fingerprint {card['data_fingerprint']}",
        "code": f"commit {commit}, training code {card['training_code']}, identity {card['identity']}",
        "backbone": f"starts {'' if started_from(card).startswith('from') else 'from '}{started_from(card)}",
        "machine": f"{card['device']}, {card['threads']} thread(s), precision {card['precision']}, {card['platform']}",
        "cost": f"{card['seconds']:.0f} s of training, {card['peak_memory_mib']} MiB at most",
        "versions": ", ".join(f"{name} {version}" for name, version in card["versions"].items()),
        "result": ", ".join(f"{name} {value:.3f}" for name, value in card["metrics"].items()),
    }
    rows = "".join(f"<tr><th>{name}</th><td>{html.escape(text)}</td></tr>" for name, text in lines.items())
    summary = "Run card" if unfolded else f"Run: {lines['run']}"
    display(_folded(summary, f"<table>{rows}</table>", unfolded), raw=True)


def show_run(*results):
    """Display, folded under a figure, which runs it was made from: the run card of one ``Result``, a list of several."""
    from IPython.display import display

    from .results import dataset_name

    if len(results) == 1:
        return show_card(results[0].card, unfolded=False)
    cards = [result.card for result in results]
    presets = list(dict.fromkeys(card["preset"] for card in cards))
    lines = [
        (card["row"], *(card["preset"],) * (len(presets) > 1), card["seed"], f"{card['metrics']['mepe']:.2f}", f"{card['seconds']:.0f}",
         (card["commit"] or "")[:12], card["identity"]) for card in cards
    ]  # fmt: skip
    names = ("row", *("preset",) * (len(presets) > 1), "seed", "MEPE (mm)", "training (s)", "commit", "identity")
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(str(value))}</td>" for value in line) + "</tr>" for line in lines)
    head = "".join(f"<th>{name}</th>" for name in names)
    size = f"preset {presets[0]}" if len(presets) == 1 else f"{len(presets)} presets"
    summary = f"Runs: {len(cards)} on {dataset_name(cards[0])}, {size}, {_listed(cards, 'seed')}"
    return display(_folded(summary, f"<table><tr>{head}</tr>{rows}</table>"), raw=True)


def _listed(cards, key):
    values = sorted({card[key] for card in cards})
    return f"{key}{'s' * (len(values) > 1)} {', '.join(map(str, values))}"


def _folded(summary, content, unfolded=False):
    state = " open" if unfolded else ""
    text = f'<details class="run-card"{state}><summary>{html.escape(summary)}</summary>{content}</details>'
    return {"text/html": text, "text/plain": "<run card>"}


def glue(name, value):
    """Keep ``value`` under ``name`` in the page, for other pages to show; no-op where there is no book, as on Colab."""
    if importlib.util.find_spec("myst_nb"):
        from myst_nb import glue as keep

        keep(name, value, display=False)


def execute(notebook, output, parameters, kernel="python3"):
    """Execute ``notebook`` with papermill into ``output``, which appears only when every cell has run.

    What differs between two identical runs (times, paths, progress bars) is taken out, so that pages can
    be compared. On Colab the page fetches the code at the commit that it was made with. Raises ValueError for a parameter that the notebook does not have, and papermill's error
    when a cell fails.
    """  # noqa: E501
    import nbformat
    import papermill

    os.environ[_PAGE] = "1"
    known = papermill.inspect_notebook(str(notebook))
    _refuse_unknown([name for name in parameters if name not in known], list(known))
    output = Path(output)
    with atomic_path(output) as temporary:
        try:
            papermill.execute_notebook(
                str(notebook), str(temporary), parameters, cwd=str(Path(notebook).parent), kernel_name=kernel,
                progress_bar=False, stderr_file=sys.stderr,  # the progress bars
                extra_arguments=["--IPKernelApp.log_level=ERROR"],  # it warns that it talks over TCP, with this machine alone
            )  # fmt: skip
        except papermill.PapermillExecutionError:
            failed = output.with_name(f"failed-{output.name}")
            os.replace(temporary, failed)
            print(f"the notebook as far as it came: {failed}", file=sys.stderr)
            raise
        page = clean(nbformat.read(temporary, 4))
        _name_the_page(page, parameters)
        if Path(notebook).resolve() != output.resolve():
            _name_the_commit(page, this_commit())
            page.metadata["handpose"] = made_of(notebook) | {"parameters": {name: str(value) for name, value in parameters.items()}}
        nbformat.write(page, temporary)


def _name_the_page(page, parameters):
    """The title of a row's page says which row it is, that of results beside the book's own which these are."""
    from .experiments import find_row
    from .recorded import BESIDE

    row, titles = parameters.get("row"), {}
    if row:
        titles["# One row of the ablation"] = f"# Row {row}: {find_row(row).parts}"
    if parameters.get("links") is False:
        ours = (parameters["dataset"], parameters["preset"])
        titles["# Results"] = "# " + next((page.title for page in BESIDE.values() if page[:2] == ours), "Results")
    for cell in page.cells:
        for title, wanted in titles.items():
            if cell.cell_type == "markdown" and cell.source.startswith(title):
                cell.source = cell.source.replace(title, wanted, 1)


def _name_the_commit(page, commit):
    """What the page fetches on Colab is the code that made it."""
    for cell in page.cells:
        if commit and colab.is_cell(cell.source):
            cell.source = colab.at_version(cell.source, commit)


#: Source that turns results into what the pages show.
_PAGE_CODE = (
    "skeleton.py", "geometry.py", "metrics.py", "analysis.py", "plausibility.py", "effects.py", "claims.py", "decisions.py",
    "tables.py", "tables_peers.py", "tables_html.py", "figures.py", "figures_pose.py", "given.py", "placement.py", "own_picture.py",
    "figures_own.py", "conventions.py", "protocols.py", "examples.py", "figures_data.py", "inside.py", "figures_inside.py",
    "figures_losses.py", "explorer.py", "explorer.js", "runs.py", "results.py", "experiments.py", "trial.py", "pictures.py", "cost.py",
    *(f"peers/{path.name}" for path in sorted((PACKAGE / "peers").glob("*.py"))),
)  # fmt: skip


def made_of(notebook):
    """Digests of what a page is made of: its source notebook's cells, captions and alternative texts among them, and the code
    that computes its numbers.

    The cell for Colab does not count: it fetches the code, which computes the same wherever it lies.
    """
    import nbformat

    said = ("caption", "mystnb")
    cells = [
        (cell.cell_type, cell.source, {key: cell.metadata[key] for key in said if key in cell.metadata})
        for cell in nbformat.read(notebook, 4).cells if not colab.is_cell(cell.source)
    ]  # fmt: skip
    return {"notebook": Path(notebook).name, "source": digest(cells), "code": source_digest(*_PAGE_CODE)}


def stale_page(page, notebooks=PACKAGE.parent / "notebooks"):
    """Why an executed ``page`` no longer is what its notebook would show, in words; empty when it still is."""
    import nbformat

    kept = nbformat.read(page, 4).metadata.get("handpose")
    if kept is None:
        return "it does not say what it was made of"
    source = Path(notebooks) / kept["notebook"]
    if not source.exists():
        return f"its notebook {kept['notebook']} is gone"
    now = made_of(source)
    changed = {"source": f"its notebook {kept['notebook']}", "code": "the code that computes its figures"}
    return "; ".join(f"{what} has changed" for key, what in changed.items() if kept[key] != now[key])


def clean(notebook):
    """Take out of an executed notebook what says when and where it ran, and its standard error; pack its drawings."""
    notebook.metadata.pop("papermill", None)
    notebook.metadata.get("language_info", {}).pop("version", None)
    for cell in notebook.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if "injected-parameters" in cell.metadata.get("tags", []) and "id" in cell:
            cell.id = "injected-parameters"  # papermill draws it
            cell.metadata.tags = [*dict.fromkeys((*cell.metadata.tags, "hide-input"))]
        if cell.cell_type == "code":
            cell.outputs = _joined(output for output in cell.outputs if output.get("name") != "stderr")
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    output["data"]["image/png"] = lighter_png(output["data"]["image/png"])
    return notebook


def _joined(outputs):
    """Outputs with the pieces of one printed text as one: where a kernel cuts it depends on its haste."""
    joined = []
    for output in outputs:
        if joined and output.output_type == joined[-1].output_type == "stream":
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def lighter_png(encoded):
    """A drawing, PNG in base64, in 256 colours, which is a third of the bytes; unchanged where it is see-through."""
    import base64
    import io

    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(encoded))) as picture:
        if picture.mode == "RGBA" and picture.getextrema()[3][0] < 255:  # type: ignore[misc]
            return encoded
        buffer = io.BytesIO()
        # No colour is far from its own, so that a colour bar keeps its steps; the median cut gives rare colours to others.
        few = picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
        few.save(buffer, "png", optimize=True)
    return min(base64.b64encode(buffer.getvalue()).decode(), encoded, key=len)


def _typed(text):
    try:
        return json.loads(text.lower() if text in ("True", "False") else text)
    except json.JSONDecodeError:
        return text


def main(arguments=None):
    """Command line: execute one notebook with parameters."""
    import papermill
    from nbclient.exceptions import DeadKernelError

    parser = argparse.ArgumentParser(prog="python -m handpose.notebook", description=main.__doc__)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), dest="parameters")
    options = parser.parse_args(arguments)
    if not options.notebook.is_file():
        sys.exit(f"error: {options.notebook} is no notebook: those of this book lie in notebooks")
    parameters = {name: _typed(value) for name, value in options.parameters}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            execute(options.notebook, options.output, parameters)
        except ValueError as error:
            sys.exit(f"error: {error}")
        except papermill.PapermillExecutionError as error:
            if error.ename in _SAID_PLAINLY:  # what is wrong stands in the message: no traceback
                sys.exit(f"error: {error.evalue}")
            raise
        except DeadKernelError:
            sys.exit("error: the notebook's process was ended from outside, most often for want of memory: end other programs; "
                     "the same command goes on from the last epoch")  # fmt: skip
        except OSError as error:
            line = line_of(error, f"{options.output} is written")
            if line is None:
                raise
            sys.exit(f"error: {line}")


if __name__ == "__main__":
    main()
