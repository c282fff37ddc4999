"""Who may import whom, which files may name what, and that `import fcn` stays light. All by reading the source."""

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(path.relative_to(ROOT) for folder in ("fcn", "experiments") for path in (ROOT / folder).rglob("*.py"))
EVERYWHERE = {"fcn.calls", "fcn.draft", "fcn.environment", "fcn.errors", "fcn.ranges", "fcn.text"}

# Part of fcn -> the parts that it may import. A part that is missing here may import any but the experiments.
MAY_IMPORT = {
    "fcn.calls": set(),
    "fcn.draft": set(),
    "fcn.environment": set(),
    "fcn.errors": set(),
    "fcn.ranges": set(),
    "fcn.text": set(),
    "fcn.options": set(),
    "fcn.kernels": set(),
    "fcn.layers": {"fcn.kernels"},
    "fcn.onnx": {"fcn.kernels"},
    "fcn.preprocessing": set(),
    "fcn.encoders": {"fcn.layers", "fcn.preprocessing"},
    "fcn.models": {"fcn.encoders", "fcn.layers"},
    "fcn.classifiers": {"fcn.encoders", "fcn.layers"},
    "fcn.registry": {"fcn.models", "fcn.classifiers", "fcn.encoders", "fcn.options", "fcn.preprocessing"},
    "fcn.losses": set(),
    "fcn.metrics": set(),
    "fcn.instances": {"fcn.metrics"},
    "fcn.visualize": set(),
    "fcn.tasks": {"fcn.losses", "fcn.metrics", "fcn.data", "fcn.instances", "fcn.visualize"},
}
ZOO = {"fcn.models", "fcn.classifiers", "fcn.encoders", "fcn.registry"}
MAY_NOT_IMPORT = {
    "fcn.data": {*ZOO, "fcn.tasks", "fcn.training", "fcn.parallel"},
    "fcn.training": {*ZOO, "fcn.tasks", "fcn.data", "fcn.parallel"},
    "fcn.parallel": {*ZOO},
    "fcn.inference": {*ZOO, "fcn.training"},
}
NUMERIC = {"jax", "numpy", "scipy", "jaxtyping", "optax"}
PUBLIC_KERNELS = {"use", "uses_onednn", "explain", "Explanation", "measured_table", "tune", "RULES"}
HEAVY = ["tensorflow", "tensorflow_datasets", "grain", "orbax", "tyro", "matplotlib", "onnx", "torch"]


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse((ROOT / path).read_text(), str(path))))


@cache
def imports(path: Path) -> set[str]:
    """Dotted names of all that a file imports, also inside functions: modules and what is taken from them."""
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: relative import; write the full name"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@cache
def part(name: str) -> str:
    """ "fcn.models.unet.UNet" -> "fcn.models"; a name that the package exports counts as the package."""
    parts = name.split(".")
    below = ROOT / Path(*parts[:2])
    return ".".join(parts[:2]) if below.is_dir() or below.with_suffix(".py").is_file() else parts[0]


def own_part(path: Path) -> str:
    return part(".".join(path.with_suffix("").parts))


def parts_imported(path: Path) -> set[str]:
    return {part(name) for name in imports(path) if name.split(".")[0] == "fcn"} - {own_part(path)}


def names(path: Path) -> set[str]:
    """Every name and attribute that the code of a file mentions (not its comments and strings)."""
    mentioned = {node.id for node in nodes(path) if isinstance(node, ast.Name)}
    mentioned |= {node.attr for node in nodes(path) if isinstance(node, ast.Attribute)}
    return mentioned | {piece for name in imports(path) for piece in name.split(".")}


def test_the_files_are_found():
    assert Path("fcn/registry.py") in FILES and Path("experiments/train.py") in FILES


def files_in(folder: str) -> list[Path]:
    return [path for path in FILES if path.parts[0] == folder]


def test_fcn_never_imports_experiments():
    assert not [str(path) for path in files_in("fcn") if any(name.split(".")[0] == "experiments" for name in imports(path))]


def test_directions():
    for path in files_in("fcn"):
        mine, imported = own_part(path), parts_imported(path) - EVERYWHERE
        if mine in MAY_IMPORT:
            assert imported <= MAY_IMPORT[mine], f"{path}: {mine} may import {sorted(MAY_IMPORT[mine])} of fcn"
        assert not imported & MAY_NOT_IMPORT.get(mine, set()), path


def test_no_import_circle():
    """Imports inside functions and under TYPE_CHECKING count, too; the error names the circle."""
    modules = {".".join(path.with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}
    names = {module: imports(path) for module, path in modules.items()}
    graph = {
        module: {name if name in modules else name.rpartition(".")[0] for name in found} & (modules.keys() - {module})
        for module, found in names.items()
    }
    inside_a_function = "fcn.data.sources.tfds"
    assert {"fcn.data.source", inside_a_function} <= graph["fcn.data.sources.opening"]
    tuple(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("house", ["fcn/data", "experiments"])
def test_no_circle_of_rooms(house):
    """Of folders, too: what one room needs of another, the other does not need of it."""
    rooms = [".".join(path.parts[:-1]) for path in FILES if path.name == "__init__.py" and house in path.parents[1].as_posix()]
    taken = {room: {f"{name}." for path in files_below(room) for name in imports(path)} for room in rooms}
    graph = {room: {other for other in rooms if any(name.startswith(f"{other}.") for name in taken[room])} for room in rooms}
    assert any(graph.values())
    tuple(TopologicalSorter({room: others - {room} for room, others in graph.items()}).static_order())


def files_below(package: str) -> list[Path]:
    return [path for path in FILES if path.as_posix().startswith(f"{package.replace('.', '/')}/")]


def test_only_layers_import_the_depth_of_kernels():
    """What `fcn.kernels` itself names is for everybody."""
    for path in FILES:
        if path.parts[1] not in ("layers", "kernels"):
            deep = [name for name in imports(path) if name.startswith("fcn.kernels.")]
            assert {name.split(".")[2] for name in deep} <= PUBLIC_KERNELS, path


ASKED = {"device_count", "local_device_count", "devices", "local_devices", "default_backend", "process_count", "process_index"}
ASKED |= {"config", "__version__", "__version_info__", "environ", "getenv", "platform", "machine"}


def attributes(path: Path, *owners: str) -> set[str]:
    """What a file takes of modules, or imports from them."""
    taken = {
        node.attr
        for node in nodes(path)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in owners
    }
    return taken | {name.rsplit(".", 1)[1] for name in imports(path) if name.rpartition(".")[0] in owners}


def test_kernels_ask_in_one_place():
    """Of devices, versions and variables: environment.py. Of the platform: the table. Of the mode: mode.py."""
    for path in (path for path in FILES if path.parts[:2] in (("fcn", "kernels"), ("fcn", "layers"))):
        assert path.parts[1] == "layers" or not ASKED & attributes(path, "jax", "os", "sys", "platform"), path
        assert "_src" not in names(path)
        assert not {"os", "platform"} & {name.split(".")[0] for name in imports(path)}, path
        assert path.name == "table.py" or "platform_dependent" not in names(path), path
        assert path.name in ("mode.py", "explaining.py") or "is_xla" not in names(path), path


@pytest.mark.parametrize("name", ["losses", "metrics"])
def test_losses_and_metrics_know_jax_only(name):
    files = [path for path in FILES if path.parts[:2] == ("fcn", name)]
    assert files
    outside = {module.split(".")[0] for path in files for module in imports(path)} - set(sys.stdlib_module_names)
    assert outside <= NUMERIC | {"fcn"} | {"metrics": {"pycocotools"}}.get(name, set())


def test_only_one_place_names():
    """Convolution and pooling primitives: layers and kernels. Meshes, pmap: parallel.py. Orbax: training/checkpoint.py."""
    for path in files_in("fcn"):
        mentioned, modules = names(path), {name.split(".")[0] for name in imports(path)}
        if path.parts[1] not in ("layers", "kernels"):
            strange = {name for name in mentioned if name.startswith(("conv_general", "conv_transpose", "reduce_window"))}
            assert not strange, f"{path}: primitives outside fcn/layers and fcn/kernels: {strange}"
            flax = {"Conv", "ConvTranspose", "ConvLocal", "BatchNorm", "max_pool", "avg_pool"} & used_from_flax(path)
            assert not flax, f"{path}: Flax's own layers instead of those of fcn.layers: {flax}"
        assert path == Path("fcn/parallel.py") or not {"Mesh", "pmap"} & mentioned, path
        assert path == Path("fcn/training/checkpoint.py") or "orbax" not in modules, path


def used_from_flax(path: Path) -> set[str]:
    """Attributes of flax.linen that a file uses, as nn.NAME or imported by name."""
    attributes = {
        node.attr
        for node in nodes(path)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("nn", "linen")
    }
    return attributes | {name.rsplit(".", 1)[1] for name in imports(path) if name.startswith("flax.linen.")}


def test_nothing_is_called_utils():
    pieces = {piece for path in FILES for piece in path.with_suffix("").parts}
    assert not pieces & {"util", "utils", "helpers", "misc", "common"}


def modules_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    return set(
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT).stdout.split()
    )


def test_importing_fcn_is_light():
    loaded = modules_after("from fcn import *; import fcn.visualize")
    assert {"fcn", "jax", "flax"} <= loaded
    assert not loaded & set(HEAVY)


def test_visualize_needs_no_jax_of_its_own():
    outside = set().union(*(imports(path) for path in FILES if path.parts[:2] == ("fcn", "visualize")))
    assert not {name for name in outside if name.split(".")[0] in ("jax", "flax")}
