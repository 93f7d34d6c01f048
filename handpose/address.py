"""The repository's public address: it stands in ``_config.yml`` and nowhere else by hand.

``python -m handpose.address URL`` sets it, with "" clears it, and without an argument shows it. The book's buttons and
links follow at build time (``book/_ext/repository_links.py``). What can't follow by itself is rewritten here: the line in
``CITATION.cff``, the badges in ``README.md``, and the notebooks' cell that fetches the code on Colab.
"""

import argparse
import re
import sys
from pathlib import Path
from urllib.parse import quote

from .colab import write_cells
from .records import PACKAGE, atomic_path

ROOT = PACKAGE.parent
BRANCH = "main"
_HOSTS = ("github.com", "gitlab.com", "bitbucket.org")  # those that the book's theme knows
_SETTING = re.compile(r"(?m)(^repository:[^\S\n]*(?:#.*)?\n(?:(?:[^\S\n].*)?\n)*?[^\S\n]+url:[^\S\n]*)(\"[^\"\n]*\"|'[^'\n]*'|[^\s#]*)")
_BADGES = re.compile(r"(<!-- address[^>]*-->\n).*?(<!-- /address -->)", re.DOTALL)


def read_address(root=ROOT):
    """The address in ``_config.yml`` of the checkout ``root``, "" while there is none.

    Raises ValueError when the file has no ``url`` under ``repository``.
    """
    return _setting((Path(root) / "_config.yml").read_text())[2].strip("\"'")


def _setting(text):
    found = _SETTING.search(text)
    if not found:
        raise ValueError('_config.yml has no line `url: ""` under `repository:`: put it back')
    return found


def check_address(url):
    """``url`` as it is stored: https://HOST/OWNER/NAME, without ".git" or a slash at the end; "" stays.

    Raises ValueError for anything else.
    """
    url = re.sub(r"(\.git)?/*$", "", url.strip())
    hosts = "|".join(map(re.escape, _HOSTS))
    if url and not re.fullmatch(rf"https://({hosts})/[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+", url):
        raise ValueError(f"not the address of a repository: {url!r}; give https://HOST/OWNER/NAME, HOST one of {', '.join(_HOSTS)}")
    return url


def colab_link(url, path):
    """Where Colab opens the notebook ``path`` of the repository at ``url``; "" when it can't: it reads GitHub only."""
    host, _, name = url.removeprefix("https://").partition("/")
    return f"https://colab.research.google.com/github/{name}/blob/{BRANCH}/{quote(path)}" if host == "github.com" else ""


def book_link(url):
    """Where the workflow publishes the book of the repository at ``url``; "" when that is not GitHub Pages."""
    host, owner, name = url.removeprefix("https://").split("/") if url else ("", "", "")
    if host != "github.com":
        return ""
    site = f"https://{owner.lower()}.github.io/"
    return site if name.lower() == f"{owner.lower()}.github.io" else f"{site}{name}/"


def badges(url, root=ROOT):
    """Markdown of the README's badges, "" while there is no address."""
    if not url:
        return ""
    found = [("source", "repository-source-blue", url)]
    colab = colab_link(url, "book/runs/results.ipynb")
    if colab:
        found = [("read the book", "book-read-blue", book_link(url))]
        found.append(("open in Colab", "https://colab.research.google.com/assets/colab-badge.svg", colab))
        for workflow in sorted((Path(root) / ".github" / "workflows").glob("test*.y*ml")):
            page = f"{url}/actions/workflows/{workflow.name}"
            found.append(("tests", f"{page}/badge.svg?branch={BRANCH}", page))
    images = [image if image.startswith("https:") else f"https://img.shields.io/badge/{image}" for _, image, _ in found]
    return "\n".join(f"[![{text}]({image})]({link})" for (text, _, link), image in zip(found, images)) + "\n"


def changes(url, root=ROOT):
    """What becomes of the checkout ``root`` with the address ``url``: {path: new text} of the files that change.

    Raises ValueError for an address that is none, or where a file lacks the place to write it.
    """
    root, url = Path(root), check_address(url)
    config, citation, readme = (root / name for name in ("_config.yml", "CITATION.cff", "README.md"))
    texts = write_cells(url, root)
    lines = [line for line in citation.read_text().splitlines(keepends=True) if not line.startswith("repository-code:")]
    if url:
        lines.insert(next(place for place, line in enumerate(lines) if line.startswith("license:")) + 1, f'repository-code: "{url}"\n')
    texts[citation] = "".join(lines)
    if not _BADGES.search(readme.read_text()):
        raise ValueError("README.md has no <!-- address --> and <!-- /address --> around its badges: put them back")
    texts[readme] = _BADGES.sub(lambda found: found[1] + badges(url, root) + found[2], readme.read_text(), count=1)
    found = _setting(config.read_text())
    texts[config] = config.read_text()[: found.start(2)] + f'"{url}"' + config.read_text()[found.end(2) :]
    return {path: text for path, text in texts.items() if text != path.read_text()}


def set_address(url, root=ROOT):
    """Write all of ``changes``, each file whole, ``_config.yml`` last; returns their paths."""
    texts = changes(url, root)
    for path, text in texts.items():
        with atomic_path(path) as temporary:
            temporary.write_text(text)
    return list(texts)


def main(arguments=None, root=ROOT):
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m handpose.address", description=__doc__.splitlines()[0])
    parser.add_argument("url", nargs="?", help='https://HOST/OWNER/NAME, or "" for none; leave it out to see the present one')
    options = parser.parse_args(arguments)
    try:
        if options.url is None:
            print(read_address(root) or "no address: set one with `make address URL=https://github.com/OWNER/NAME`")
            return
        written = set_address(options.url, root)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(read_address(root) or "no address")
    print("\n".join(f"written: {path.relative_to(root)}" for path in written) or "nothing to change")


if __name__ == "__main__":
    main()
