"""The build stops before it shows a recorded file that was deleted, edited or swapped; after one that was ended, all is written anew."""

from pathlib import Path

from sphinx.errors import SphinxError

from handpose import recorded

_UNFINISHED = ".unfinished"


class RecordedRunChanged(SphinxError):
    category = "The recorded run is not what was recorded"


def _check(app):
    try:
        recorded.check(Path(app.srcdir) / "book" / "runs")
    except ValueError as error:
        raise RecordedRunChanged(str(error)) from None
    marker = Path(app.outdir) / _UNFINISHED
    if marker.exists():  # a page may be half written, and newer than its source
        (Path(app.outdir) / ".buildinfo").unlink(missing_ok=True)
    Path(app.outdir).mkdir(parents=True, exist_ok=True)
    marker.touch()
    for finished in Path(app.outdir).glob(".run-*"):  # says of which run the pages were, all of which may not stay
        finished.unlink()


def _done(app, exception):
    if exception is None:
        (Path(app.outdir) / _UNFINISHED).unlink(missing_ok=True)


def setup(app):
    app.connect("builder-inited", _check)
    app.connect("build-finished", _done, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
