"""Which single mistakes in the code no test notices: mutation testing of training, predictor, latency and search.

    python -m benchmarks.mutations [FOLDER...] [--seed 0] [--count 25] [--again]

A mutant is a module of ofa_core/FOLDER with one change: another operator, comparison, number or function of its kind, or a
factor, an argument or a call left out. COUNT of each folder, drawn with the seed, are tried in a copy of the working tree. At
first the tests of tests/FOLDER run once (`-m "not slow"`), to find out which lines each of them reaches. For a mutant those
that reach it run, the quickest first, until one fails. Of the cases of a slow test only one runs (`CASE_SECONDS`).
Results are kept in .work/mutations/. A run that was stopped goes on; --again tries the survivors anew.
"""

import argparse
import ast
import copy
import hashlib
import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

FOLDERS = ("training", "predictor", "latency", "search")
WORK = Path(".work/mutations").absolute()
LOG = WORK / "log"
CASE_SECONDS = 2.0
"""CPU time from which one case of a parametrised test stands for all of them."""
LIMIT = 5.0
"""A mutant counts as killed if a test takes this many times the CPU time that it takes without it, and a second."""
CLOCK_SECONDS = 1800
"""As killed counts one, too, whose processes wait for each other for this long."""
LOADED = "torch._dynamo scipy.optimize scipy.stats pandas pydantic hypothesis ruamel.yaml safetensors.torch"
"""Imported once, for the processes that run tests are forks of this one."""
OPERATORS: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div, ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.And: ast.Or, ast.Or: ast.And,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
NAMES = {
    "min": ["max"], "max": ["min"], "mean": ["sum"], "sum": ["mean"], "median": ["mean", "min"], "std": ["var"],
    "any": ["all"], "all": ["any"], "floor": ["ceil"], "ceil": ["floor"], "minimum": ["maximum"], "maximum": ["minimum"],
    "argmin": ["argmax"], "argmax": ["argmin"], "smallest": ["largest"], "largest": ["smallest"],
}  # fmt: skip
KEPT = (ast.Raise, ast.Assert, ast.JoinedStr, ast.Import, ast.ImportFrom)
"""Not changed: errors and texts. Nor are types, decorators, and what is printed."""


def replacements(node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    """What may be changed in a node: a part of it, and what stands there instead."""

    def other(**fields: object) -> tuple[ast.AST, ast.AST]:
        changed = copy.copy(node)
        vars(changed).update(fields)
        return node, changed

    match node:
        case ast.BinOp(op=op) | ast.BoolOp(op=op) if type(op) in OPERATORS:
            yield other(op=OPERATORS[type(op)]())
            if isinstance(op, ast.Mult):
                yield from ((node, factor) for factor in (node.left, node.right))
        case ast.Compare(ops=[op]) if type(op) in OPERATORS:
            yield other(ops=[OPERATORS[type(op)]()])
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node, node.operand
        case ast.Constant(value=bool(value)):
            yield other(value=not value)
        case ast.Constant(value=int(value)):
            yield from (other(value=number) for number in sorted({value + 1, value - 1, value // 2} - {value, -1}))
        case ast.Constant(value=float(value)) if value:
            yield other(value=value / 2)
        case ast.Call(func=ast.Name(id="min" | "max" | "sum" as name)):
            yield other(func=ast.Name("min" if name == "max" else "max"))
        case ast.Attribute(attr=name) if name in NAMES:
            yield from (other(attr=new) for new in NAMES[name])
        case ast.If(test=test) | ast.IfExp(test=test) if not isinstance(test, ast.Compare):
            yield test, ast.UnaryOp(ast.Not(), test)
        case ast.Expr(value=ast.Call()) | ast.AugAssign():
            yield node, ast.Pass()
    if isinstance(node, ast.Call):
        yield from (other(keywords=[one for one in node.keywords if one is not left]) for left in node.keywords)


def mutants(path: Path) -> list[dict[str, Any]]:
    """All mutants of a module: its path, line, change, new source, and the lines of the statement (None if run at import)."""
    source, found = path.read_bytes(), list[dict[str, Any]]()
    starts = [0, *(i + 1 for i, byte in enumerate(source) if byte == ord("\n"))]

    def visit(node: Any, lines: tuple[int, int] | None, within: bool) -> None:
        if isinstance(node, KEPT) or ast.unparse(node).startswith(("print(", "tqdm.write(", "Annotated[")):
            return
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)  # of a compound statement, the lines before its body
            lines = (node.lineno, max(node.lineno, body[0].lineno - 1) if body else node.end_lineno) if within else None
        for place, new in replacements(node):
            first, last = starts[place.lineno - 1] + place.col_offset, starts[place.end_lineno - 1] + place.end_col_offset
            text = ast.unparse(new) if isinstance(new, ast.stmt) else f"({ast.unparse(new)})"
            change = f"{' '.join(ast.unparse(place).split())[:100]}  ->  {ast.unparse(new)[:100]}"
            changed = (source[:first] + text.encode() + source[last:]).decode()
            found.append({"path": str(path), "line": place.lineno, "change": change, "lines": lines, "source": changed})
        for name, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and name not in ("annotation", "returns", "decorator_list"):
                    visit(child, lines, within or (isinstance(node, ast.FunctionDef) and name == "body"))

    visit(ast.parse(source), None, False)
    return found


class Reached:
    """A pytest plugin that notes of each test its CPU time, and the lines of a folder of a tree that it reaches, by file."""

    def __init__(self, tree: Path, folder: str) -> None:
        self.tree, self.folder, self.tests, self.slow = f"{tree}/", f"{tree}/{folder}/", dict[str, dict[str, Any]](), set[str]()
        self.lines, self.fixtures = set[tuple[str, int]](), dict[tuple[str, str], set[tuple[str, int]]]()
        sys.addaudithook(lambda event, _: self.lines.add(("", 0)) if event == "subprocess.Popen" else None)

    def trace(self, frame: Any, event: str, _: Any) -> Any:
        path = frame.f_code.co_filename
        if path.startswith(self.folder):
            self.lines.add((path.removeprefix(self.tree), frame.f_lineno))
            return self.trace
        return None

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Any:
        outer, self.lines = self.lines, set()  # one test sets up a module's fixture, which reaches lines for all of them
        try:
            return (yield)
        finally:
            self.fixtures[fixturedef.baseid, fixturedef.argname], self.lines = self.lines, outer

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if item.nodeid.partition("[")[0] in self.slow:
            pytest.skip("a case of this slow test was run")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Any:
        self.lines, before, name = set(), sum(os.times()[:4]), item.nodeid.partition("[")[0]
        sys.settrace(self.trace)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            used = [at for (place, one), at in self.fixtures.items() if one in item.fixturenames and name.startswith(place)]
            seconds = sum(os.times()[:4]) - before
            if name not in self.slow:
                self.tests[item.nodeid] = {"seconds": seconds, "lines": sorted(self.lines.union(*used))}
            if seconds > CASE_SECONDS:
                self.slow.add(name)


class Limited:
    """A pytest plugin that ends the process in a test that takes too long."""

    def __init__(self, tests: Mapping[str, float]) -> None:
        self.tests = tests

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        signal.setitimer(signal.ITIMER_PROF, LIMIT * self.tests[item.nodeid] + 1)  # in CPU time; SIGPROF ends a process


def run_tests(tree: Path, names: Iterable[str], plugin: object, after: Callable[[], object] = int) -> int:
    """The exit code of pytest in a process that imports from a tree, and that then calls `after`."""
    if not (pid := os.fork()):
        code = 1
        try:
            os.setsid()
            os.chdir(tree)
            output = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            sys.path[:] = [str(tree), *(path for path in sys.path if path not in ("", str(Path(__file__).parent.parent)))]
            os.environ["PYTHONPATH"] = str(tree)
            options = ["-x", "-m", "not slow", "-p", "no:cacheprovider", "--tb=no", "-rfE"]
            code = int(pytest.main([*options, *names], [plugin]))
            after()
        finally:
            os._exit(code)
    end, done, status = time.monotonic() + CLOCK_SECONDS, 0, 1
    try:
        while not done and time.monotonic() < end:
            time.sleep(0.02)
            done, status = os.waitpid(pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if done else 1
    finally:
        if not done:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def reached(tree: Path, folder: str) -> dict[str, dict[str, Any]]:
    """What `Reached` notes of the tests of a folder; kept as long as these and the code are the same."""
    sources = sorted([*(tree / "ofa_core" / folder).rglob("*.py"), *(tree / "tests" / folder).rglob("*.py")])
    kept = WORK / f"{folder}-{hashlib.md5(b''.join(path.read_bytes() for path in sources)).hexdigest()[:12]}.json"
    if not kept.exists():
        plugin = Reached(tree, f"ofa_core/{folder}")
        if run_tests(tree, [f"tests/{folder}"], plugin, lambda: kept.write_text(json.dumps(plugin.tests))):
            kept.unlink(missing_ok=True)
            sys.exit(f"tests/{folder}: fails without any change:\n{LOG.read_text()}")
    return json.loads(kept.read_text())


def chosen(mutant: dict[str, Any], tests: dict[str, dict[str, Any]]) -> dict[str, float]:
    """The CPU times of the tests to run for a mutant, the quickest first."""
    first, last = mutant["lines"] or (0, 10**6)
    own = f"test_{Path(mutant['path']).stem}.py"  # what is reached by processes that a test starts is not known
    return {
        name: test["seconds"]
        for name, test in sorted(tests.items(), key=lambda item: item[1]["seconds"])
        if (own in name and ["", 0] in test["lines"])
        or any(path == mutant["path"] and first <= line <= last for path, line in test["lines"])
    }


def verdict(tree: Path, mutant: dict[str, Any], tests: dict[str, float]) -> dict[str, str]:
    """Whether a test fails, and which."""
    if not tests:
        return {"verdict": "survived", "by": "no test reaches it"}
    path = tree / mutant["path"]
    before, bytecode = path.read_text(), Path(importlib.util.cache_from_source(str(path)))
    path.write_text(mutant["source"])
    bytecode.unlink(missing_ok=True)  # it would be taken for that of another mutant of equal size in the same second
    code = run_tests(tree, tests, Limited(tests))
    path.write_text(before)
    bytecode.unlink(missing_ok=True)
    failed = [line.split()[1] for line in LOG.read_text().splitlines() if line.startswith(("FAILED tests", "ERROR tests"))]
    return {"verdict": "killed" if code else "survived", "by": (failed or [f"exit code {code}"])[0] if code else ""}


def main() -> None:
    """Reads the command line, tries the mutants that the journal lacks, and prints all and the shares."""
    parser = argparse.ArgumentParser(description="which single mistakes no test notices")
    parser.add_argument("folders", nargs="*", default=FOLDERS, metavar="FOLDER")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=25)
    parser.add_argument("--again", action="store_true", help="try survivors anew")
    args = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    journal = WORK / "journal.jsonl"
    known = {row["key"]: row for row in map(json.loads, journal.read_text().splitlines())} if journal.exists() else {}
    os.environ.setdefault("OFA_SHARED_DATA", str(Path("../shared/data").absolute()))
    for name in LOADED.split():
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as temporary:
        tree = Path(temporary).resolve() / "tree"
        listed = subprocess.check_output(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], text=True)
        for name in filter(os.path.isfile, listed.split("\0")):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(name, tree / name)
        for folder in args.folders:
            found = [one for path in sorted(Path("ofa_core", folder).glob("*.py")) for one in mutants(path)]
            sample = random.Random(f"{args.seed} {folder}").sample(found, len(found))[: args.count]
            tests, survived = reached(tree, folder), 0
            for i, mutant in enumerate(sample, 1):
                key = hashlib.md5(f"{mutant['path']} {mutant['source']}".encode()).hexdigest()
                if key not in known or (args.again and known[key]["verdict"] == "survived"):
                    row = {"key": key} | {name: mutant[name] for name in ("path", "line", "change")}
                    known[key] = row | verdict(tree, mutant, chosen(mutant, tests))
                    with journal.open("a") as file:
                        file.write(json.dumps(known[key]) + "\n")
                row = known[key]
                survived += row["verdict"] == "survived"
                print(f"{i}/{len(sample)}", "{verdict} {path}:{line}: {change}  ({by})".format(**row), flush=True)
            print(f"{folder}: {len(found)} mutants, {len(sample)} tried, {survived} survived ({survived / len(sample):.0%})")


if __name__ == "__main__":
    main()
