import argparse
import json
import subprocess
import sys
import time
from importlib.metadata import version
from typing import get_args

import pytest

from ofa_core.commands import COMMANDS
from ofa_core.commands import main as cli
from ofa_core.commands.extras import advice
from ofa_core.convert.choices import Format, HardSwishChoice
from ofa_core.images.packed import SPLITS
from ofa_core.quantization.params import Calibration
from ofa_core.release.folder import ReleasedModel, write_release
from ofa_core.runtime.choices import Contract
from ofa_core.search.evolution import EFFORTS
from ofa_core.space.registry import SPACES, get_space
from ofa_core.zoo import catalogue
from tests.conftest import REPO
from tests.release.test_release import ENTRY


def ofa(capsys, *arguments):
    """(exit code, stdout, stderr) of one command."""
    try:
        code = cli.main(list(arguments))
    except SystemExit as exit_:
        code = exit_.code
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def release(tmp_path):
    (tmp_path / "model").write_bytes(b"model")
    write_release(tmp_path / "release", [ReleasedModel(entry=ENTRY, files={"uint8": tmp_path / "model"})])
    return tmp_path / "release"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_json(capsys, command):
    code, out, _ = ofa(capsys, command, "--help")
    assert code == 0
    assert "--json" in out
    assert command in ofa(capsys, "--help")[1]


def actions(command):
    """The arguments of a command, as argparse actions."""
    [commands] = (action for action in cli.build_parser(command)._actions if action.dest == "command")
    return commands.choices[command]._actions


@pytest.mark.parametrize("command", COMMANDS)
def test_help_tells_defaults(command):
    for action in actions(command):
        if action.default not in (None, False, argparse.SUPPRESS, []):
            assert "default: " in action.help, f"{command} {action.dest}"


@pytest.mark.parametrize(
    ("command", "flag", "allowed"),
    [
        ("search", "effort", tuple(EFFORTS)),
        ("eval", "split", SPLITS),
        ("export", "hard_swish", get_args(HardSwishChoice)),
        ("export", "calibration", get_args(Calibration)),
        ("verify", "contract", get_args(Contract)),
    ],
)
def test_choices_are_those_of_the_code(capsys, command, flag, allowed):
    [action] = (action for action in actions(command) if action.dest == flag)
    assert tuple(action.choices) == allowed
    assert f"{{{','.join(allowed)}}}" in "".join(ofa(capsys, command, "--help")[1].split())


@pytest.mark.parametrize("command", ["cost", "search"])
def test_spaces_are_named_in_the_help(capsys, command):
    assert ",".join(SPACES) in "".join(ofa(capsys, command, "--help")[1].split())


def test_choices_of_formats(capsys):
    """Several in one argument: argparse has no choices for that."""
    assert ", ".join(get_args(Format)) in " ".join(ofa(capsys, "export", "--help")[1].split())


def test_version(capsys):
    assert ofa(capsys, "--version") == (0, f"ofa {version('ofa_core')}\n", "")


def test_help_loads_nothing_heavy():
    """In a new process: the entry point and the help of every command."""
    program = (
        "import sys; from ofa_core.commands import COMMANDS; from ofa_core.commands.main import build_parser;"
        "build_parser().format_help(); light = set(sys.modules); [build_parser(name) for name in COMMANDS];"
        "packages = 'torch tensorflow dvc pandas scipy pydantic matplotlib onnx ai_edge_litert'.split();"
        "print(sorted(light & {*packages, 'numpy', 'tqdm', 'PIL'}), sorted(set(packages) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPO, capture_output=True, text=True, check=True)
    assert done.stdout == "[] []\n"


@pytest.mark.parametrize(
    ("command", "module", "extra", "expected"),
    [
        ("search", "scipy", "train", "scipy, which is not installed: pip install 'ofa_core[train]'"),
        ("search", "matplotlib.pyplot", "train", "matplotlib, which is not installed: pip install 'ofa_core[pipeline]'"),
        ("check", "ruamel", "train", "ruamel.yaml, which is not installed: pip install 'ofa_core[train]'"),
        ("export", "pydantic", "export", "pydantic, which is not installed: pip install 'ofa_core[export]'"),
        ("predict", "tqdm", None, "tqdm, which is not installed: pip install 'ofa_core[train]'"),
        ("eval", "pycocotools.cocoeval", None, "pycocotools, which is not installed: pip install 'ofa_core[detection]'"),
        ("cost", "numpy", None, "numpy, which is not installed: pip install ofa_core"),
    ],
)
def test_advice(command, module, extra, expected):
    assert advice(command, module, extra) == f"ofa {command} needs {expected}"


def test_verify(capsys, release):
    code, out, err = ofa(capsys, "verify", str(release))
    assert (code, err) == (0, "")
    assert "ofa-fast.tflite: OK" in out.splitlines()
    assert json.loads(ofa(capsys, "verify", str(release), "--json")[1])["ok"] is True

    (release / "ofa-fast.tflite").write_bytes(b"modem")
    code, out, _ = ofa(capsys, "verify", str(release))
    assert code == 1
    assert out.startswith("ofa-fast.tflite: md5 is ")
    code, out, _ = ofa(capsys, "verify", str(release), "--json")
    assert code == 1
    assert json.loads(out)["problems"][0].startswith("ofa-fast.tflite: ")


def test_verify_starts_fast_and_without_the_heavy_libraries(release):
    program = (
        "import sys; from ofa_core.commands.main import main; code = main(['verify', sys.argv[1]]);"
        "print(code, sorted({'torch', 'tensorflow', 'numpy', 'pydantic', 'requests'} & set(sys.modules)))"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program, str(release)], cwd=REPO, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
    assert time.perf_counter() - started < 2  # about 0.1 s on an idle machine


def test_cost(capsys, tmp_path):
    space = get_space("ofa_mbv3", 1.2)
    arch = space.smallest()
    (tmp_path / "arch.json").write_text(json.dumps({"arch": arch.to_dict()}))
    spellings = (["--smallest"], ["--arch", str(tmp_path / "arch.json")], ["--arch", json.dumps(arch.to_dict())])
    for spelling in spellings:
        code, out, _ = ofa(capsys, "cost", "ofa_mbv3", "--width-mult", "1.2", *spelling, "--json")
        assert code == 0
        found = json.loads(out)
        assert (found["macs"], found["params"]) == space.cost(arch)
        assert found["arch"] == arch.to_dict()
        assert sum(layer["macs"] for layer in found["layers"]) == found["macs"]
    code, out, _ = ofa(capsys, "cost", str(REPO / "params/spaces/ofa_small_k7.yaml"), "--num-classes", "10")
    assert code == 0
    small = get_space("ofa_small_k7")
    macs, params = small.cost(small.largest(), 10)
    assert out.splitlines()[-1].split()[:3] == ["total", f"{macs:,}", f"{params:,}"]
    assert len(out.splitlines()) == len(small.layers(small.largest())) + 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verify", "nowhere"], "nowhere: no such folder"),
        (["verify", "--wrong"], "unrecognized arguments: --wrong"),
        (["cost", "nonsense"], "argument space: invalid choice: 'nonsense' (choose from 'ofa_mbv3'"),
        (["cost", "ofa_mbv3", "--width-mult", "x"], "argument --width-mult: invalid float value"),
        (["cost", "ofa_mbv3", "--width-mult", "-1"], "width_mult: -1.0 is not between"),
        (["cost", "ofa_mbv3", "--num-classes", "0"], "--num-classes: 0"),
        (["cost", "ofa_mbv3", "--arch", "{"], "--arch: not JSON"),
        (["cost", "ofa_mbv3", "--arch", "nowhere.json"], "nowhere.json: no such file"),
        (["cost", "ofa_mbv3", "--arch", '{"ks": [3]}'], "architecture: missing d, e, r"),
        (["cost", "ofa_mbv3", "--arch", "{}", "--largest"], "not allowed with argument"),
        (["fetch"], "name: missing"),
        (["fetch", "nonsense"], "name: 'nonsense' is not in the catalogue"),
        (["check", "nowhere.yaml"], "nowhere.yaml: no such file"),
        ([], "required: COMMAND"),
        (["nonsense"], "invalid choice: 'nonsense'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(capsys, arguments, message):
    code, out, err = ofa(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err


def test_fetch(capsys, tmp_path):
    name = next(name for name, row in catalogue.PUBLISHED.items() if len(row.files) == 1 and not row.md5 and not row.sha256)
    (tmp_path / "mirror").write_bytes(b"weights")
    arguments = ("fetch", name, "--out", str(tmp_path / "out"), "--url", (tmp_path / "mirror").as_uri(), "--json")
    code, out, _ = ofa(capsys, *arguments)
    assert code == 0
    path = json.loads(out)["path"]
    assert (tmp_path / "out").samefile(path.rsplit("/", 1)[0])
    assert (tmp_path / "out" / catalogue.PUBLISHED[name].files[0][1]).read_bytes() == b"weights"
    code, out, _ = ofa(capsys, "fetch", "--list")
    assert code == 0
    assert out.split() == [*catalogue.PACKAGED, *catalogue.PUBLISHED]
    assert json.loads(ofa(capsys, "fetch", "--list", "--json")[1])["names"] == out.split()


def test_output_may_be_cut_off():
    command = f"{sys.executable} -m ofa_core.commands.main cost ofa_mbv3 | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=REPO, capture_output=True, text=True, check=False)
    assert done.stdout.split()[0] == "layer"
    assert done.stderr == ""
