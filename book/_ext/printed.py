"""``{printed}``: what a command of the package prints, run when the book is built. Nothing is typed.

    ```{printed} handpose.batch --recorded --rows "A B" --preset desktop
    ```
"""

import shlex
import subprocess
import sys

from docutils import nodes
from sphinx.util.docutils import SphinxDirective


class Printed(SphinxDirective):
    required_arguments, final_argument_whitespace = 1, True

    def run(self):
        self.env.note_reread()  # no file says when what a command prints has changed
        # -P: the package that is installed, with its recorded run, not a copy of its source beside the pages.
        command = [sys.executable, "-P", "-m", *shlex.split(self.arguments[0])]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise self.error(f"{self.arguments[0]} failed: {done.stderr.strip()}")
        text = done.stdout.rstrip()
        return [nodes.literal_block(text, text, language="text")]


def setup(app):
    app.add_directive("printed", Printed)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
