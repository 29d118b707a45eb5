"""Layout: imports point one way, importing does no work, locks and packages are complete."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.support.paths import GOLDEN, ROOT

ROOMS = ("desed_task", "local", "benchmarks", "tests")
MAY_IMPORT = {
    "desed_task": {"desed_task"},
    "local": {"desed_task", "local"},
    "benchmarks": {"desed_task", "local", "benchmarks", "train_sed", "tests"},  # tests.support
    "tests": {"desed_task", "local", "train_sed", "tests"},
}
# Rooms of desed_task: each imports only rooms before it in this list, commands (`__main__`) any.
ORDER = (
    *(
        "desed",
        "errors",
        "extras",
        "tables",
        "settings",
        "files",
        "options",
        "frames",
        "labels",
        "windows",
    ),
    *(
        "processor",
        "ranks",
        "process_group",
        "schedules",
        "ema",
        "sod_settings",
        "sod",
        "transforms",
        "features",
        "encoder",
        "nnet",
    ),
    *("dataio", "augment", "frame_classifier", "synthesis", "making"),
    *("evaluation", "postprocess", "drawing", "report", "model", "detect", "review"),
)
DRAWING = ("desed_task.report", "desed_task.drawing")
REPORT_USERS = ("desed_task.report", "local.results", "local.studies", "tests.", "benchmarks.")


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    _module_name(path): path
    for room in ROOMS
    for path in sorted((ROOT / room).rglob("*.py"))
    if GOLDEN not in path.parents
} | {"train_sed": ROOT / "train_sed.py"}


def _imports(module: str, *, inside: bool = True) -> set[str]:
    """Modules of this project that a module imports, `inside` functions and for types as well."""
    names: set[str] = set()
    tree = ast.parse(MODULES[module].read_text())
    for node in ast.walk(tree) if inside else tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    found = set()
    for name in names:  # a name is a module, or something inside one
        parent = name.rpartition(".")[0]
        found |= {name} & MODULES.keys() or {parent} & MODULES.keys()
    return found


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_point_one_way(room: str) -> None:
    modules = [module for module in MODULES if module.split(".")[0] == room]
    assert len(modules) > 5
    for module in modules:
        assert {name.split(".")[0] for name in _imports(module)} <= MAY_IMPORT[room], module


def test_no_test_module_imports_another() -> None:
    for module in MODULES:
        shared = {name for name in _imports(module) if name.split(".")[0] == "tests"}
        assert all(name.startswith("tests.support") for name in shared), module


@pytest.mark.parametrize("room", ORDER)
def test_rooms_of_the_library_import_rooms_below(room: str) -> None:
    inside = f"desed_task.{room}"
    modules = [name for name in MODULES if f"{name}.".startswith(f"{inside}.")]
    assert modules
    for module in modules:
        if module.endswith(".__main__"):
            continue
        rooms = {name.split(".")[1] for name in _imports(module) if name.count(".")}
        assert rooms <= {room, *ORDER[: ORDER.index(room)]}, module


def test_every_room_of_the_library_is_in_the_order() -> None:
    rooms = {name.split(".")[1] for name in MODULES if name.startswith("desed_task.")}
    assert rooms == {*ORDER}


def test_only_commands_and_results_import_the_report() -> None:
    users = {
        module
        for module in MODULES
        if any(name.startswith("desed_task.report") for name in _imports(module))
    }
    assert any(module.startswith("local.results") for module in users)
    assert not {
        module
        for module in users
        if not module.startswith(REPORT_USERS) and not module.endswith(".__main__")
    }


def test_the_trainer_draws_nothing() -> None:
    loaded, found = set[str](), {"local.sed_trainer"}
    while found:
        loaded |= found
        found = {name for module in found for name in _imports(module, inside=False)} - loaded
    assert "local.objective" in loaded
    assert not {name for name in loaded if name.startswith(DRAWING)}


def test_evaluation_uses_no_torch() -> None:
    for module, path in MODULES.items():
        if module.startswith("desed_task.evaluation"):
            assert not re.search(r"^\s*(import|from) torch", path.read_text(), re.MULTILINE), module


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {module: _imports(module) for module in MODULES}
    finished: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in finished:
            for imported in sorted(graph[module]):
                visit(imported, (*path, module))
            finished.add(module)

    for module in graph:
        visit(module, ())


def test_evaluation_needs_no_network_library() -> None:
    code = (
        "import sys, desed_task.evaluation; libraries = "
        "'torch', 'pytorch_lightning', 'pandas', 'pydantic'; "
        "sys.exit(any(name in sys.modules for name in libraries))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_conda_script_installs_the_locks_of_running() -> None:
    script = (ROOT / "conda_create_environment.sh").read_text()
    assert set(re.findall(r"requirements[\w-]*\.lock", script)) == set(RUN_LOCKS)


RUN_LOCKS = ("requirements.lock", "requirements-nodeps.lock")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def _pins(*locks: str) -> dict[str, Version]:
    pins: dict[str, Version] = {}
    for lock in locks:
        for line in (ROOT / lock).read_text().splitlines():
            if line and line[0] != "#":
                requirement = Requirement(line)
                name = canonicalize_name(requirement.name)
                assert name not in pins, f"{lock}: {name} is pinned twice"
                pins[name] = Version(next(iter(requirement.specifier)).version)
    return pins


@pytest.mark.parametrize(
    ("wanted", "locks"),
    [
        (PROJECT["project"]["dependencies"], RUN_LOCKS),
        (PROJECT["project"]["optional-dependencies"]["check"], ("requirements-test.lock",)),
        (PROJECT["project"]["optional-dependencies"]["dev"], ("requirements-test.lock",)),
    ],
)
def test_lock_satisfies_the_bounds_of_the_package(
    wanted: list[str], locks: tuple[str, ...]
) -> None:
    pins = _pins(*locks)
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), (
            requirement
        )


def test_no_package_is_pinned_in_two_locks() -> None:
    assert len(_pins(*RUN_LOCKS, "requirements-test.lock")) > 50


def test_running_needs_no_tool_of_the_tests() -> None:
    run = _pins(*RUN_LOCKS)
    assert not run.keys() & {"sed-scores-eval", "sebbs", "cython", "mypy", "pytest", "ruff"}


def test_every_package_of_the_library_is_installed() -> None:
    found = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    library = {name for name in found if name.split(".")[0] == "desed_task"}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == library
