"""The repository's address stands in one place; with none no page shows a link to it, with one all of them do."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from handpose import address
from handpose.address import check_address, colab_link, read_address, set_address
from handpose.notebook import made_of
from handpose.recorded import write_manifest

ROOT = Path(__file__).parents[1]
URL = "https://github.com/some-owner/hand.pose"


def checkout(folder):
    for name in ("_config.yml", "README.md", "CITATION.cff"):
        shutil.copy(ROOT / name, folder)
    for name in ("book/_ext", "book/_static", "notebooks", "handpose"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name in ("book/bibliography.md", "book/references.bib"):
        shutil.copy(ROOT / name, folder / name)
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Refine"), nbformat.v4.new_code_cell("1")])
    page.metadata |= {
        "handpose": made_of(folder / "notebooks" / "refine.ipynb"),
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "language_info": {"name": "python", "pygments_lexer": "ipython3"},
    }
    (folder / "book" / "runs").mkdir()
    nbformat.write(page, folder / "book" / "runs" / "refine.ipynb")
    write_manifest(folder / "book" / "runs")
    (folder / "_toc.yml").write_text("format: jb-book\nroot: book/bibliography\nchapters:\n  - file: book/runs/refine\n")
    set_address("", folder)  # whatever the repository's own is
    return folder


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    """HTML of the two pages, prose and notebook, without and with an address; warnings are errors."""
    folder = checkout(tmp_path_factory.mktemp("site"))
    html = {}
    for url in ("", URL):
        set_address(url, folder)
        command = [Path(sys.executable).with_name("jupyter-book"), "build", ".", "--all", "-W", "--keep-going", "--quiet"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        pages = {name: folder / "_build" / "html" / "book" / f"{name}.html" for name in ("bibliography", "runs/refine")}
        html[url] = {name: path.read_text() for name, path in pages.items()}
    return html


def links(html):
    return re.findall(r'href="([^"]+)"', html)


def test_without_an_address_no_page_links_to_one(sites):
    for html in sites[""].values():
        assert not [link for link in links(html) if re.search(r"colab|github\.com/(?!zhjwustc|executablebooks)|/issues|/edit/", link)]
        assert "source-buttons" not in html and "launch-buttons" not in html and "in-colab" not in html


def test_with_an_address_every_page_has_its_buttons(sites):
    for html in sites[URL].values():
        assert URL in links(html)
        assert any(link.startswith(f"{URL}/issues/new?") for link in links(html))
    assert f"{URL}/edit/main/book/bibliography.md" in links(sites[URL]["bibliography"])
    assert f"{URL}/edit/main/notebooks/refine.py" in links(sites[URL]["runs/refine"])  # not its outputs


def test_a_notebook_opens_in_colab_as_itself_and_prose_does_not(sites):
    start = "https://colab.research.google.com/github/some-owner/hand.pose/blob/main"
    found = [link for link in links(sites[URL]["runs/refine"]) if "colab" in link]
    assert set(found) == {f"{start}/book/runs/refine.ipynb", f"{start}/notebooks/refine.ipynb"}
    assert found.count(f"{start}/book/runs/refine.ipynb") == 2  # the rocket, and the line under the title
    assert "launch-buttons" in sites[URL]["runs/refine"]
    assert not [link for link in links(sites[URL]["bibliography"]) if "colab" in link]
    assert "launch-buttons" not in sites[URL]["bibliography"]


def test_every_file_follows_and_comes_back(tmp_path):
    folder = checkout(tmp_path)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    changed = set_address(URL + ".git/", folder)
    assert set_address(URL, folder) == []  # nothing more to do
    assert read_address(folder) == URL
    assert yaml.safe_load((folder / "CITATION.cff").read_text())["repository-code"] == URL
    readme = (folder / "README.md").read_text()
    assert f"]({colab_link(URL, 'book/runs/results.ipynb')})" in readme and "(https://some-owner.github.io/hand.pose/)" in readme
    assert "# `make address URL=...` writes it" in (folder / "_config.yml").read_text()  # comments stay
    for path in [*folder.glob("notebooks/*.ipynb"), *folder.glob("notebooks/*.py")]:
        assert f"{URL}" in path.read_text()
    assert len(changed) == len(list(folder.glob("notebooks/*.[ip][py]*"))) + 3
    set_address("", folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_this_checkout_agrees_with_itself():
    """CITATION.cff, README and notebooks say what _config.yml says."""
    assert address.changes(read_address()) == {}


def test_the_readmes_badges_show_the_tests_where_there_are_such(tmp_path):
    assert "actions" not in address.badges(URL, tmp_path)
    (tmp_path / ".github" / "workflows").mkdir(parents=True)
    (tmp_path / ".github" / "workflows" / "test.yml").write_text("on: push\n")
    assert f"({URL}/actions/workflows/test.yml)" in address.badges(URL, tmp_path)
    assert address.badges("", tmp_path) == ""


@pytest.mark.parametrize("url, stored", [
    (f" {URL}/ ", URL), (f"{URL}.git", URL), ("", ""), ("https://gitlab.com/a/b", "https://gitlab.com/a/b"),
])  # fmt: skip
def test_addresses_are_stored_in_one_form(url, stored):
    assert check_address(url) == stored


@pytest.mark.parametrize("url", ["http://github.com/a/b", "github.com/a/b", "https://github.com/a", "https://example.org/a/b",
                                 "https://github.com/a/b/tree/main", 'https://github.com/a/"b', "https://github.com/a/b c"])  # fmt: skip
def test_what_is_no_address_changes_nothing(url, tmp_path):
    folder = checkout(tmp_path)
    with pytest.raises(ValueError, match="not the address of a repository.*give https://HOST/OWNER/NAME"):
        set_address(url, folder)
    assert read_address(folder) == ""


def test_colab_reads_github_only(tmp_path):
    url = "https://gitlab.com/a/b"
    assert colab_link(url, "x.ipynb") == "" == colab_link("", "x.ipynb") == address.book_link(url) == address.book_link("")
    assert "colab" not in address.badges(url, tmp_path) and url in address.badges(url, tmp_path)


def test_a_users_own_page_has_no_folder():
    assert address.book_link("https://github.com/Ann/ann.github.io") == "https://ann.github.io/"
    assert address.book_link("https://github.com/Ann/Hands") == "https://ann.github.io/Hands/"


@pytest.mark.parametrize("name, old, error", [
    ("_config.yml", 'url: ""', "no line `url"), ("README.md", "<!-- /address -->", "README.md has no"),
])  # fmt: skip
def test_a_place_that_is_gone_is_said_before_anything_is_written(tmp_path, name, old, error):
    folder = checkout(tmp_path)
    (folder / name).write_text((folder / name).read_text().replace(old, "nothing"))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=error):
        set_address(URL, folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


_name = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}", fullmatch=True)


@given(_name, _name)
def test_any_owner_and_name_is_read_as_it_was_written(owner, name):
    text = 'title: x\nrepository: # here\n  # a comment\n  branch: main\n\n  url: ""  # more\nhtml:\n  url: "other"\n'
    url = check_address(f"https://github.com/{owner}/{name}")
    found = address._setting(text)
    written = text[: found.start(2)] + f'"{url}"' + text[found.end(2) :]
    assert yaml.safe_load(written) == {"title": "x", "repository": {"branch": "main", "url": url}, "html": {"url": "other"}}


def test_the_command_says_what_it_did(tmp_path, capsys):
    folder = checkout(tmp_path)
    address.main([], folder)
    assert "no address: set one with `make address URL=" in capsys.readouterr().out
    address.main([URL], folder)
    assert capsys.readouterr().out.splitlines()[:2] == [URL, "written: notebooks/align.py"]
    address.main([URL], folder)
    assert capsys.readouterr().out == f"{URL}\nnothing to change\n"
    with pytest.raises(SystemExit, match="error: not the address"):
        address.main(["nonsense"], folder)


@pytest.mark.parametrize("arguments, command", [
    (["URL=https://github.com/a/b"], 'handpose.address "https://github.com/a/b"'),
    (["URL="], 'handpose.address ""'),
    ([], "handpose.address \n"),
])  # fmt: skip
def test_make_address(arguments, command):
    make = ["make", "--dry-run", "--old-file=.venv/ready", "address", *arguments]
    done = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True)
    assert command in done.stdout
