"""Layout: imports point one way, importing does no work, locks and packages are complete."""

import ast
import os
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.support.paths import GOLDEN, ROOT
from tests.support.shared_data import shared_path

ROOMS = ("desed_task", "local", "benchmarks", "tests")
MAY_IMPORT = {
    "desed_task": {"desed_task"},
    "local": {"desed_task", "local"},
    "benchmarks": {"desed_task", "local", "benchmarks", "train_sed", "tests"},  # tests.support
    "tests": {"desed_task", "local", "train_sed", "tests"},
}
REPORT_USERS = (
    "desed_task.report.__main__",
    "local.results",
    "desed_task.detect.plots",
    "local.ablation",
)  # commands, and commands' rooms


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    _module_name(path): path
    for room in ROOMS
    for path in sorted((ROOT / room).rglob("*.py"))
    if GOLDEN not in path.parents
} | {"train_sed": ROOT / "train_sed.py"}


def _imports(module: str) -> set[str]:
    """Modules of this project that a module imports, inside functions and for types as well."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
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


def _uses_report(module: str) -> bool:
    return any(name.startswith("desed_task.report") for name in _imports(module))


def test_only_commands_import_the_report() -> None:
    users = {module for module in MODULES if _uses_report(module)}
    assert any(module.startswith("local.results") for module in users)
    allowed = (*REPORT_USERS, "desed_task.report", "tests.", "benchmarks.")
    assert not {module for module in users if not module.startswith(allowed)}


def test_evaluation_imports_neither_torch_nor_the_report() -> None:
    evaluation = {
        name: MODULES[name] for name in MODULES if name.startswith("desed_task.evaluation")
    }
    assert len(evaluation) > 5
    for module, path in evaluation.items():
        assert not re.search(r"^\s*(import|from) torch", path.read_text(), re.MULTILINE), module
        assert module == "desed_task.report.__main__" or not _uses_report(module), module


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
        "import sys, desed_task.evaluation; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'pytorch_lightning', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def _conda(tmp_path: Path, script: str | None) -> subprocess.CompletedProcess[str]:
    """Run the script with a PATH that holds only `script` as conda, and the shell's own tools."""
    for tool in ("bash", "dirname", "env", "grep"):
        (tmp_path / tool).symlink_to(
            next(Path(p) / tool for p in os.environ["PATH"].split(":") if (Path(p) / tool).exists())
        )
    if script is not None:
        stub = tmp_path / "conda"
        stub.write_text(f"#!{tmp_path}/bash\n{script}\n")
        stub.chmod(stub.stat().st_mode | stat.S_IXUSR)
    return subprocess.run(
        [str(tmp_path / "bash"), str(ROOT / "conda_create_environment.sh")],
        env={"PATH": str(tmp_path), "CALLS": str(tmp_path / "calls")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_conda_script_without_conda(tmp_path: Path) -> None:
    done = _conda(tmp_path, None)
    assert done.returncode == 2
    assert "neither conda nor micromamba is on the PATH" in done.stderr


def test_conda_script_creates_and_installs_the_lock(tmp_path: Path) -> None:
    done = _conda(tmp_path, 'echo "$@" >> "$CALLS"')
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[0] == "env list"
    assert calls[1].startswith("create --yes --name cross_task_sed ")
    assert f"--requirement {ROOT}/requirements.lock" in calls[2]
    assert f"--no-deps --requirement {ROOT}/requirements-nodeps.lock" in calls[3]
    assert "compiler" not in calls[1]
    assert all("--name cross_task_sed" in call for call in calls[1:])


def test_conda_script_stops_when_conda_fails(tmp_path: Path) -> None:
    done = _conda(tmp_path, 'echo "$@" >> "$CALLS"; [ "$1" = env ] || exit 3')
    assert done.returncode == 3
    assert len((tmp_path / "calls").read_text().splitlines()) == 2
    assert "ready" not in done.stdout


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


RUN_LOCKS = ("requirements.lock", "requirements-nodeps.lock")


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


def test_conda_script_leaves_an_environment_alone(tmp_path: Path) -> None:
    done = _conda(tmp_path, 'echo "$@" >> "$CALLS"; echo "x  /opt/envs/cross_task_sed"')
    assert done.returncode == 2
    assert "exists already" in done.stderr
    assert (tmp_path / "calls").read_text() == "env list\n"


def test_golden_files_are_those_of_the_specification() -> None:
    for path in shared_path("golden").iterdir():
        if path.name == "README.md":  # refers to documents that users do not have
            continue
        assert (GOLDEN / path.name).read_bytes() == path.read_bytes(), path.name
