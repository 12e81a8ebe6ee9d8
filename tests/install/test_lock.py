"""pyproject.toml, the lock files and the extras named by commands agree with each other."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement

from ofa_core.commands.extras import EXTRAS
from tests.conftest import REPO

PYPROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
LOCKS = ("requirements.lock", "requirements-cpu.lock", "requirements-cuda.lock")


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    """Version by package of everything installed with torch's CPU build."""
    text = "".join((REPO / name).read_text() for name in LOCKS[:2])
    return {normal(name): version for name, version in re.findall(r"(?m)^([\w.-]+)==([^\s;]+)", text)}


def test_every_requirement_is_locked_within_its_range() -> None:
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values(), *PYPROJECT["dependency-groups"].values()]
    wanted = [Requirement(line) for group in groups for line in group]
    locked = pins()
    assert len(wanted) > 20
    for requirement in wanted:
        if requirement.name != PROJECT["name"]:
            assert requirement.specifier.contains(locked[normal(requirement.name)]), requirement


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_hashes(name: str) -> None:
    entries = re.split(r"(?m)^(?=\w)", (REPO / name).read_text())[1:]
    assert entries
    for entry in entries:
        assert re.fullmatch(r"[\w.-]+==\S+( ; [^\\\n]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+\n", entry), entry.split()[0]


def test_both_builds_of_torch_are_of_one_version() -> None:
    cpu, cuda = (re.findall(r"(?m)^torch==([\d.]+)", (REPO / name).read_text()) for name in LOCKS[1:])
    assert cpu == cuda
    assert len(cpu) == 1
    assert "torch==" not in (REPO / LOCKS[0]).read_text()


def test_a_plain_installation_needs_three_packages() -> None:
    assert [Requirement(line).name for line in PROJECT["dependencies"]] == ["numpy", "pillow", "ai-edge-litert"]


def test_extras_are_those_of_the_commands() -> None:
    """The extra that `ofa` advises brings the missing module. tensorflow-cpu is the module tensorflow."""
    declared = {
        extra: {Requirement(line).name for line in lines} - {"ofa_core"} - {"tensorflow-cpu"}
        for extra, lines in PROJECT["optional-dependencies"].items()
    }
    assert declared == {extra: set(modules) for extra, modules in EXTRAS.items()}
    assert list(declared) == list(EXTRAS)


def test_each_extra_includes_the_one_before() -> None:
    lines = list(PROJECT["optional-dependencies"].values())
    for name, larger in zip(EXTRAS, lines[1:], strict=False):
        assert f"ofa_core[{name}]" in larger
