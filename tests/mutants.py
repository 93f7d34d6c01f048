"""Break the code on purpose and see whether the tests notice: ``make mutants``, or ``python -m tests.mutants``.

A mutant is one module of the package with one small change: a sign, an operator, a comparison, a number, an index, an axis,
a mean for a sum, a statement left out. Each runs the tests of its module in a copy of the package, in a process of its own
that stops at the first test that fails. A mutant under which none fails has survived: no test holds that piece of code.

What came out is written to ``book/checks/mutants.json``; ``tests/test_checks.py`` says when the sources have moved on.
A module is tried again when it or its tests have changed. ``--jobs`` says how many mutants run at a time.
"""

import argparse
import ast
import collections
import copy
import dataclasses
import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from handpose.records import PACKAGE, available_cores, bare_source, digest, read_check, write_check

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "book" / "checks" / "mutants.json"
#: The tests that a change of each module has to answer to.
TESTS = {
    "skeleton": ("test_skeleton",),
    "geometry": ("test_geometry",),
    "metrics": ("test_metrics",),
    "losses": ("test_losses",),
}
#: What takes long to import and is no part of this package: once, before the children begin.
IMPORTED = {
    "skeleton": ("numpy", "pytest", "hypothesis"),
    "geometry": ("numpy", "pytest", "hypothesis"),
    "metrics": ("numpy", "pytest", "hypothesis"),
    "losses": ("numpy", "pytest", "hypothesis", "scipy.spatial.transform", "torch"),
}
#: A mutant that takes this many times as long as the module itself hangs: it is caught. At least so many seconds.
PATIENCE, LEAST = 5, 60

_LAYOUT = "only the layout in memory differs"
_UNUSED = "stands in where the other branch is taken: neither its value nor its gradient is used"
_OTHER = "the other factor is of float64, so the product is"
_HERE = "the tests run on the CPU, where the index arrays are"
_TURN = "the other cyclic order of the axes gives the cross product's opposite, in another order: its length is the same"
_SORTED = "corners are only sorted by it, and one more joint in all of them leaves the order as it is"
_NEGATIVE = "a negative length is one that numpy works out"
_ONES = "to divide by 1 and by -1 is to multiply by them"
#: Mutants that compute the same: (module, function, what stands there, what the mutant has) and why no test can tell them apart.
EQUIVALENT = {
    ("losses", "", "torch.tensor(_PAIRS).T.contiguous()", "torch.tensor(_PAIRS).T"): _LAYOUT,
    ("losses", "_heights", "joints.permute(2, 1, 0).contiguous()", "joints.permute(2, 1, 0)"): _LAYOUT,
    ("losses", "_length", "-1", "1"): "the last axis of two is the second",
    ("losses", "_on", "index.to(device)", "index"): _HERE,
    ("losses", "_on", "torch.inference_mode(False)", "torch.inference_mode(True)"): _HERE,
    ("losses", "joint_line_distances", "_LINES.to(joints.device)", "_LINES"): _HERE,
    ("losses", "", "torch.tensor(BONES).T.contiguous()", "torch.tensor(BONES).T"): _LAYOUT,
    ("losses", "kl_divergence", "-1", "1"): "the last axis of two is the second",
    ("losses", "_length", "torch.where(tiny, 1.0, squared)", "torch.where(tiny, 2.0, squared)"): _UNUSED,
    ("losses", "_heights", "torch.where(undefined, 1.0, length)", "torch.where(undefined, 2.0, length)"): _UNUSED,
    ("losses", "_heights", "torch.where(undefined, 1.0, length)", "torch.where(undefined, -1.0, length)"): _UNUSED,
    ("losses", "", "itertools.combinations(range(_JOINTS), 2)", "itertools.permutations(range(_JOINTS), 2)"):
        "each pair twice, of which one is looked up",
    ("losses", "", "torch.tensor([[_PAIRS.index(side) for side in ((b, c), (a, c), (a, b))] for a, b, c in _TRIANGLES]).T.contiguous()",
     "torch.tensor([[_PAIRS.index(side) for side in ((b, c), (a, c), (a, b))] for a, b, c in _TRIANGLES]).T"): _LAYOUT,
    ("losses", "", "one[:n]", "one[:]"): _SORTED,
    ("losses", "", "n + 1", "n + 0"): _SORTED,
    ("losses", "_on", "(_FIRST, _SECOND, _FACING[1], _FACING[2], _FACING.flatten(), _CHILDREN, _PARENTS)",
     "(_SECOND, _FIRST, _FACING[1], _FACING[2], _FACING.flatten(), _CHILDREN, _PARENTS)"): "a side has no direction",
    ("losses", "_on", "_FACING[1]", "_FACING[0]"): "any two sides of a triangle span its area",
    ("losses", "_heights", "-1", "1"): _TURN,
    ("losses", "_heights", "-1", "-2"): _TURN,
    ("losses", "joint_line_distances", "heights.index_select(0, _LINES.to(joints.device)).T.unflatten(1, (_JOINTS, -1))",
     "heights.index_select(0, _LINES.to(joints.device)).T.unflatten(-1, (_JOINTS, -1))"): "the second of two is the last",
    ("losses", "geometrical_loss", "(0, 1)", "(1, 0)"): "a sum over two axes has no order",
    ("metrics", "auc", "float(high)", "high"): "the grid is of real numbers already",
    ("geometry", "view_rotation", "(..., 1)", "(..., -1)"): "the second of two is the last",
    ("geometry", "project", "np.asarray(points, np.float64)", "points"): _OTHER,
    ("geometry", "project", "np.asarray(K, np.float64)", "K"): _OTHER,
    ("geometry", "view_rotation", "(3, 3)", "(-3, 3)"): _NEGATIVE,
    ("geometry", "view_rotation", "(3, 3)", "(3, -3)"): _NEGATIVE,
    ("geometry", "normalise_pose", "('left', 'right')", "('right', 'left')"): "either order holds both",
    ("geometry", "normalise_pose", "pose * [-1.0, 1.0, 1.0]", "pose / [-1.0, 1.0, 1.0]"): _ONES,
    ("geometry", "restore_pose", "np.asarray(pose, np.float64) * mirror", "np.asarray(pose, np.float64) / mirror"): _ONES,
    ("geometry", "restore_pose", "np.asarray(pose, np.float64)", "pose"): "times `mirror`, an array of float64, it becomes one",
}

_SWAPS = {
    ast.Add: [ast.Sub], ast.Sub: [ast.Add], ast.Mult: [ast.Div], ast.Div: [ast.Mult], ast.FloorDiv: [ast.Mult],
    ast.Mod: [ast.FloorDiv], ast.Pow: [ast.Mult], ast.MatMult: [ast.Mult], ast.BitAnd: [ast.BitOr], ast.BitOr: [ast.BitAnd],
    ast.Lt: [ast.LtE, ast.Gt], ast.LtE: [ast.Lt, ast.Gt], ast.Gt: [ast.GtE, ast.Lt], ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq], ast.Is: [ast.IsNot], ast.IsNot: [ast.Is], ast.In: [ast.NotIn],
    ast.NotIn: [ast.In], ast.And: [ast.Or], ast.Or: [ast.And],
}  # fmt: skip
#: Functions and methods in place of which their counterpart is called.
_COUNTERPARTS = {
    "min": "max", "sum": "mean", "sin": "cos", "all": "any", "zeros": "ones", "zeros_like": "ones_like", "arange": "ones",
    "zip": "product", "combinations": "permutations", "floor": "ceil",
}  # fmt: skip
_COUNTERPARTS |= {name: other for other, name in _COUNTERPARTS.items() if name not in ("ones", "product", "permutations")}
#: Functions that a mutant leaves out: their first argument, or the object whose method they are, takes their place.
_LEFT_OUT = {
    "abs", "square", "sqrt", "exp", "log", "sum", "mean", "norm", "arctan", "sort", "transpose", "swapaxes", "contiguous", "to",
    "asarray", "diff", "float", "cross", "isfinite",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One change: the module, function and line it stands in, its kind, what was there and is there now, and the whole source."""

    module: str
    function: str
    line: int
    operator: str
    before: str
    after: str
    source: str = dataclasses.field(repr=False)

    def told(self):
        """All but the source, as a dict."""
        return {name: getattr(self, name) for name in ("module", "function", "line", "operator", "before", "after")}


def changes(node):
    """Yield (kind of change, new node) for each way to break ``node`` itself, its parts left as they are."""
    kind = type(node)
    if kind in (ast.BinOp, ast.AugAssign, ast.BoolOp):
        for other in _SWAPS.get(type(node.op), ()):
            yield "operator", _with(node, op=other())
    if kind is ast.Compare:
        for place, old in enumerate(node.ops):
            for other in _SWAPS[type(old)]:
                yield "comparison", _with(node, ops=[*node.ops[:place], other(), *node.ops[place + 1 :]])
    if kind is ast.UnaryOp:
        yield "sign" if isinstance(node.op, ast.USub) else "not", node.operand
    if kind is ast.Constant:
        yield from ((what, ast.Constant(value)) for what, value in _other_values(node.value))
    if kind is ast.Call:
        yield from _other_calls(node)
    if kind is ast.IfExp:
        yield "condition", _with(node, body=node.orelse, orelse=node.body)
    if kind is ast.If:
        yield "condition", _with(node, test=ast.UnaryOp(ast.Not(), node.test))
    if kind in (ast.Raise, ast.AugAssign) or (kind is ast.Expr and not isinstance(node.value, ast.Constant)):
        yield "statement left out", ast.Pass()
    if kind is ast.Assign and set().union(*map(_read, node.targets)) & _read(node.value):
        yield "statement left out", ast.Pass()
    if kind is ast.Slice and (node.lower or node.upper):
        yield "slice", ast.Slice()
    if kind is ast.Tuple and isinstance(node.ctx, ast.Load) and len(node.elts) > 1:
        yield "order", _with(node, elts=[*node.elts[1::-1], *node.elts[2:]])


def _read(node):
    """Names that an expression reads: `pose = pose * scale` can be left out and leaves a pose, `pose = xyz` can't."""
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def _with(node, **fields):
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def _other_values(value):
    if isinstance(value, bool):
        yield "constant", not value
    elif isinstance(value, (int, float)):
        yield "constant", value + 1
        yield "constant", value - 1
        if value:
            yield "sign", -value
    elif isinstance(value, str):
        yield "constant", value + "x"


def _other_calls(node):
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name in _COUNTERPARTS:
        function = _with(node.func, **{"attr" if isinstance(node.func, ast.Attribute) else "id": _COUNTERPARTS[name]})
        yield "function", _with(node, func=function)
    if name in _LEFT_OUT:
        of_module = not isinstance(node.func, ast.Attribute) or _module(node.func)
        yield "function left out", node.args[0] if of_module else node.func.value
    if name == "arctan2":
        yield "order", _with(node, args=node.args[::-1])
    if name == "where" and len(node.args) == 3:
        yield "order", _with(node, args=[node.args[0], *node.args[:0:-1]])


def _module(function):
    """Whether ``function``, an attribute, is that of a module: np.sin and torch.linalg.cross, not pose.sum."""
    first = function.value
    while isinstance(first, ast.Attribute):
        first = first.value
    return isinstance(first, ast.Name) and first.id in ("np", "torch", "F", "itertools")


def _sites(tree):
    """Every node whose change is a change of what the code computes: (its parent, field, place in a list or None, node)."""
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            for place, node in enumerate(value) if isinstance(value, list) else ((None, value),):
                if isinstance(node, ast.AST):
                    yield parent, field, place, node


def _texts(tree):
    """Nodes in docstrings, messages of errors and f-strings: words, not computations."""
    found = set()
    for node in ast.walk(tree):
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if docstring or isinstance(node, ast.JoinedStr):
            found.update(map(id, ast.walk(node)))
        if isinstance(node, ast.Raise):
            found.update(id(one) for one in ast.walk(node) if one is not node)
    return found


def mutants_of(module, source):
    """All mutants of a module's ``source``, in the order of its lines, each once."""
    tree = ast.parse(source)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    words, seen, found = _texts(tree), {ast.unparse(tree)}, []
    for parent, field, place, node in _sites(tree):
        if id(node) in words:
            continue
        for operator, new in changes(node):
            if operator == "sign" and isinstance(node, ast.Constant) and isinstance(parent, ast.UnaryOp):
                continue  # the minus before it is dropped as well
            _put(parent, field, place, new)
            changed = ast.unparse(ast.fix_missing_locations(tree))
            _put(parent, field, place, node)
            if changed not in seen:
                seen.add(changed)
                shown = parent if isinstance(node, (ast.Constant, ast.Slice)) and not isinstance(parent, ast.stmt) else node
                before = ast.unparse(shown)
                _put(parent, field, place, new)
                after = ast.unparse(ast.fix_missing_locations(shown if shown is parent else new))
                _put(parent, field, place, node)
                line = getattr(node, "lineno", getattr(parent, "lineno", 1))
                within = next((one.name for one in functions if one.lineno <= line <= one.end_lineno), "")
                found.append(Mutant(module, within, line, operator, _short(before), _short(after), changed))
    return sorted(found, key=lambda one: one.line)


def _short(text):
    return text.splitlines()[0][:200]


def _put(parent, field, place, node):
    if place is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[place] = node


def workplace(folder):
    """A copy of the package and its tests in ``folder``, which the mutants change."""
    for name in ("handpose", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def start(source, module, folder):
    """Start the tests of ``module`` with ``source`` in its place, in a child of this process; returns its id.

    What takes long to import is imported here, once, and the child begins with it. It ends with 0 when every test passed.
    """
    child = os.fork()
    if child:
        return child
    status = 3
    try:
        os.setsid()
        output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        place = Path(tempfile.mkdtemp(dir=folder))
        os.symlink(folder / "tests", place / "tests")
        (place / "handpose").mkdir()
        for path in (folder / "handpose").iterdir():
            if path.name != f"{module}.py":
                os.symlink(path, place / "handpose" / path.name)
        (place / "handpose" / f"{module}.py").write_text(source)
        for name in [name for name in sys.modules if name.partition(".")[0] in ("handpose", "tests")]:
            del sys.modules[name]
        sys.path[:] = [str(place), *(one for one in sys.path if Path(one or ".").resolve() != ROOT)]
        sys.dont_write_bytecode = True
        os.chdir(place)
        status = _tested([str(place / "tests" / f"{name}.py") for name in TESTS[module]], place)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _tested(files, place):
    """Exit status of pytest on ``files``; failures of properties are not made smaller, the first one is enough."""
    import pytest
    from hypothesis import Phase, settings

    settings.register_profile("mutants", phases=[Phase.explicit, Phase.generate], database=None, derandomize=True)
    settings.load_profile("mutants")
    options = ["-x", "-q", "-c", os.devnull, "--rootdir", str(place), "--noconftest", "--assert=plain", "-W", "error"]
    options += ["-p", "no:cacheprovider"]
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    status = int(pytest.main([*options, *files]))
    import handpose

    assert Path(handpose.__file__).is_relative_to(place), "the tests did not run on the copy"
    return status


def outcome(child, limit):
    """"passed", "failed" or "too long" of a started child; it is ended after ``limit`` seconds."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "passed" if status == 0 else "failed"
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "too long"


def tried(mutants, module, folder, jobs, limit):
    """Yield (mutant, outcome) of all, ``jobs`` at a time."""
    for begin in range(0, len(mutants), jobs):
        part = mutants[begin : begin + jobs]
        children = [start(one.source, module, folder) for one in part]
        yield from ((one, outcome(child, limit)) for one, child in zip(part, children))
        for place in folder.glob("tmp*"):
            shutil.rmtree(place)


def source_digest(module):
    """Digest of a module and of the tests that answer for it: comments and docstrings don't count."""
    paths = [PACKAGE / f"{module}.py", *(ROOT / "tests" / f"{name}.py" for name in TESTS[module])]
    return digest([bare_source(path.read_text()) for path in paths])


def recorded():
    """What was measured before, {} where nothing was."""
    return read_check(RESULT) if RESULT.exists() else {}


def examined(module, folder, jobs, say=print):
    """What became of every mutant of ``module``. Raises RuntimeError when its tests fail without any change."""
    source, of = (PACKAGE / f"{module}.py").read_text(), source_digest(module)
    begin = time.monotonic()
    if outcome(start(ast.unparse(ast.parse(source)), module, folder), 600) != "passed":
        raise RuntimeError(f"the tests of {module} fail as it is: {(folder / 'output').read_text()[-2000:]}")
    limit = max(LEAST, PATIENCE * (time.monotonic() - begin))
    mutants = mutants_of(module, source)
    counts, survivors = collections.defaultdict(collections.Counter), []
    for number, (one, what) in enumerate(tried(mutants, module, folder, jobs, limit), 1):
        if what != "passed" and (module, one.function, one.before, one.after) in EQUIVALENT:
            raise RuntimeError(f"{one.told()} is said to be equivalent, and a test tells it apart: take it out of EQUIVALENT")
        counts[one.operator]["caught" if what != "passed" else "not caught"] += 1
        if what == "passed":
            survivors.append(one.told())
            say(f"not caught: {module}.py:{one.line} {one.operator}: {one.before}  ->  {one.after}")
        elif number % 50 == 0:
            say(f"{module}: {number} of {len(mutants)}")
    total = sum(counts.values(), collections.Counter())
    operators = {name: dict(counts[name]) for name in sorted(counts)}
    return {"source": of, "mutants": len(mutants), "caught": total["caught"], "operators": operators, "survivors": survivors}


def judged(result):
    """A module's result with its survivors parted: those that ``EQUIVALENT`` has a reason for, and those that a test should catch."""
    survivors = [{name: value for name, value in one.items() if name != "equivalent"} for one in result["survivors"]]
    for one in survivors:
        reason = EQUIVALENT.get(tuple(one[name] for name in ("module", "function", "before", "after")))
        one |= {"equivalent": reason} if reason else {}
    equivalent = sum("equivalent" in one for one in survivors)
    return result | {"survived": len(survivors) - equivalent, "equivalent": equivalent, "survivors": survivors}


def main(arguments=None):
    """Examine the modules and write down what came out."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", choices=TESTS, action="append", help="this module alone")
    parser.add_argument("--jobs", type=int, default=available_cores(), help="how many at a time")
    options = parser.parse_args(arguments)
    for module in options.only or TESTS:
        results = recorded()
        if results.get(module, {}).get("source") != source_digest(module):
            for name in IMPORTED[module]:
                importlib.import_module(name)
            with tempfile.TemporaryDirectory() as folder:
                results[module] = examined(module, workplace(Path(folder)), options.jobs)
        write_check(RESULT, {name: judged(results[name]) for name in TESTS if name in results})
    for module, result in recorded().items():
        print(module, {name: result[name] for name in ("mutants", "caught", "survived", "equivalent")})


if __name__ == "__main__":
    main()
