"""The rules of the house: who may import whom, what import costs, what prints."""

import ast
import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import deepgaze_jax
import deepgaze_jax.conversion

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "deepgaze_jax"

# Imports go to the same level or down. A new file gets its line here.
LEVELS = {
    "decoding_costs": 0,
    "errors": 0,
    "file_lock": 0,
    "files": 0,
    "fixations": 0,
    "gaussian_blur": 0,
    "images": 0,
    "journal": 0,
    "memory": 0,
    "map_checks": 0,
    "ops": 0,
    "pillow_warnings": 0,
    "roc": 0,
    "visual_angle": 0,
    "windows": 0,
    "winograd": 0,
    "winograd_kernels": 0,
    "alexnet": 1,
    "auc": 1,
    "center_bias": 1,
    "feature_networks": 1,
    "finalizer": 1,
    "gold_standard": 1,
    "gold_standard_fit": 1,
    "grids": 1,
    "icf": 1,
    "leave_one_out": 1,
    "map_metrics": 1,
    "metric_maps": 1,
    "metrics": 1,
    "readout": 1,
    "sampling": 1,
    "shuffled_auc": 1,
    "spread": 1,
    "summaries": 1,
    "to_density": 1,
    "vgg": 1,
    "vgg16": 1,
    "vgg_rows": 1,
    "architectures": 2,
    "conversion": 2,
    "datasets": 2,
    "folds": 2,
    "model": 2,
    "pretrained": 2,
    "programs": 2,
    "any_size": 3,
    "band_plan": 3,
    "checkpoints": 3,
    "distributed": 3,
    "feature_stage": 3,
    "readout_grid": 3,
    "picture_scale": 3,
    "model_cards": 3,
    "joined_seeds": 3,
    "model_files": 3,
    "named_center_bias": 3,
    "runs": 3,
    "members": 3,
    "monitor": 3,
    "own_features": 3,
    "parallel": 3,
    "read_ahead": 3,
    "step_features": 3,
    "train_epoch": 3,
    "fine_tuning": 3,
    "image_groups": 3,
    "train_config": 3,
    "train_step": 3,
    "run_scores": 3,
    "training_data": 3,
    "weight_registry": 3,
    "weight_sources": 3,
    "weights": 3,
    "weight_conversion": 4,
    "weight_inspection": 4,
    "weight_parity": 4,
    "weight_scales": 4,
    "evaluation": 4,
    "exported": 4,
    "figures": 4,
    "many_images": 4,
    "plotting": 4,
    "prediction": 4,
    "predictor": 4,
    "training": 4,
    "__main__": 5,
    "cli": 5,
    "server": 5,
}

MAY_PRINT = {"cli", "server", "__main__"}


def module_files():
    """Every module of the library: dotted name -> file."""
    files = {}
    for folder, prefix in (
        (ROOT / PACKAGE, PACKAGE),
        (ROOT / "conversion", f"{PACKAGE}.conversion"),
    ):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            files[".".join([prefix, *parts])] = path
    return files


FILES = module_files()


def room(module):
    """The file or folder directly below the package; the package itself is ''."""
    return module.removeprefix(PACKAGE).removeprefix(".").partition(".")[0]


def imported(path):
    """Every module name that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write it in full"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                names.add(full if full in FILES else node.module)
    return names


IMPORTS = {module: imported(path) for module, path in FILES.items()}


def test_there_is_something_to_check():
    assert {"deepgaze_jax.vgg", "deepgaze_jax.conversion.sniff"} <= set(FILES)
    assert "deepgaze_jax.errors" in IMPORTS["deepgaze_jax.conversion.sniff"]


def test_every_module_has_a_level():
    unknown = sorted({room(module) for module in FILES} - set(LEVELS) - {""})
    assert not unknown, f"give {unknown} a level in this file and in the design"


def test_imports_go_down():
    wrong = [
        f"{module} imports {other}"
        for module, others in IMPORTS.items()
        for other in sorted(others & set(FILES))
        # The package itself offers what is below; its version is everyone's.
        if room(module)
        and room(other)
        and room(other) != room(module)
        and LEVELS[room(other)] > LEVELS[room(module)]
    ]
    assert not wrong


def test_imports_have_no_cycles():
    graph = {
        module: {other for other in others & set(FILES) if room(other)}
        for module, others in IMPORTS.items()
        if room(module)
    }
    while leaves := {module for module, others in graph.items() if not others}:
        graph = {m: others - leaves for m, others in graph.items() if m not in leaves}
    assert not graph, f"these import one another: {sorted(graph)}"


@pytest.mark.parametrize(
    ("library", "rooms"),
    [
        ("orbax", {"checkpoints"}),
        ("torch", {"conversion"}),
        ("tensorflow", set()),
        ("tensorflow_datasets", {"datasets"}),
        ("h5py", {"conversion", "datasets", "evaluation", "many_images"}),
        ("tensorboardX", {"monitor"}),
        ("matplotlib", {"plotting", "figures", "cli"}),
        ("ray", {"many_images"}),
        ("pyarrow", {"datasets", "evaluation"}),
    ],
)
def test_libraries_stay_in_their_rooms(library, rooms):
    users = {
        room(module)
        for module, others in IMPORTS.items()
        if any(other.partition(".")[0] == library for other in others)
    }
    assert users <= rooms


def run_python(code):
    """What a fresh interpreter prints."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


NO_DEVICE = """
if "jax" in sys.modules:
    from jax._src import xla_bridge
    assert not xla_bridge.backends_are_initialized(), "a device was initialised"
"""


def test_import_is_light_and_initialises_no_device():
    heavy = ("matplotlib", "pyarrow", "torch", "tensorflow", "gradio", "requests")
    heavy += ("tensorflow_datasets",)
    code = "import sys, deepgaze_jax\n"
    code += f"print([name for name in {heavy} if name in sys.modules])\n"
    assert run_python(code + NO_DEVICE) == "[]\n"


def test_no_module_initialises_a_device_or_prints_when_imported():
    names = sorted(module for module in FILES if not module.endswith("__main__"))
    code = f"import importlib, sys\nfor name in {names}: importlib.import_module(name)"
    assert run_python(code + NO_DEVICE) == ""


def walked_modules():
    """As an installed package shows them; the mapped folder has a path of its own."""
    found = {PACKAGE, f"{PACKAGE}.conversion"}
    for package in (deepgaze_jax, deepgaze_jax.conversion):
        prefix = f"{package.__name__}."
        walk = pkgutil.walk_packages(package.__path__, prefix)
        found |= {module.name for module in walk}
    return sorted(name for name in found if not name.endswith("__main__"))


def test_all_files_are_walked():
    files = {module for module in FILES if not module.endswith("__main__")}
    assert files == set(walked_modules())


@pytest.mark.parametrize("name", walked_modules())
def test_examples_in_docstrings(name):
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    result = doctest.testmod(importlib.import_module(name), optionflags=flags)
    assert result.failed == 0, f"run python -m doctest on {name}"


def prints(path):
    """Lines that write to standard output or error, or end the process."""
    lines = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if called in ("print", "exit", "quit", "sys.exit", "os._exit") or (
            isinstance(node, ast.Attribute)
            and ast.unparse(node) in ("sys.stdout", "sys.stderr")
        ):
            lines.append(node.lineno)
    return lines


def test_only_the_command_line_and_the_server_print():
    found = {
        module: prints(path)
        for module, path in FILES.items()
        if room(module) not in MAY_PRINT and prints(path)
    }
    assert not found


def test_the_check_for_printing_sees_it(tmp_path):
    path = tmp_path / "m.py"
    path.write_text("import sys\nprint(1)\nsys.stdout.write('a')\nsys.exit(1)\n")
    assert prints(path) == [2, 4, 3]


def test_no_large_files_in_git():
    result = subprocess.run(
        ["git", "ls-files", "-z"], capture_output=True, text=True, cwd=ROOT
    )
    if result.returncode != 0:
        pytest.skip("not a git checkout")
    shipped = f"{PACKAGE}/pretrained/"
    large = [
        name
        for name in result.stdout.split("\0")
        if name
        and (ROOT / name).is_file()
        and (ROOT / name).stat().st_size > 1_000_000
        and not (name.startswith(shipped) and name.endswith(".safetensors"))
    ]
    assert not large
