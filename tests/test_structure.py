"""What the layout promises: imports point one way, importing does no work, the script works."""

import ast
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import GOLDEN, ROOT

MAY_IMPORT = {"desed_task": {"desed_task"}, "local": {"desed_task", "local"}}
OURS = {"desed_task", "local", "train_sed", "tests"}


def _imported(path: Path) -> set[str]:
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            modules.add(node.module or "")
    return {module.split(".")[0] for module in modules} & OURS


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_one_way(package: str) -> None:
    paths = sorted((ROOT / package).rglob("*.py"))
    assert len(paths) > 5
    for path in paths:
        assert _imported(path) <= MAY_IMPORT[package], path


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
    assert (
        f"--no-deps --no-build-isolation --requirement {ROOT}/requirements-nodeps.lock" in calls[3]
    )
    assert all("--name cross_task_sed" in call for call in calls[1:])


def test_conda_script_stops_when_conda_fails(tmp_path: Path) -> None:
    done = _conda(tmp_path, 'echo "$@" >> "$CALLS"; [ "$1" = env ] || exit 3')
    assert done.returncode == 3
    assert len((tmp_path / "calls").read_text().splitlines()) == 2
    assert "ready" not in done.stdout


def test_lock_satisfies_the_bounds_of_the_package() -> None:
    """Every dependency of pyproject.toml is pinned in the lock, within its bounds."""
    import tomllib

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = {
        canonicalize_name(requirement.name): next(iter(requirement.specifier)).version
        for requirement in (Requirement(line) for line in lines if line and line[0] != "#")
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for text in (*project["dependencies"], *project["optional-dependencies"]["dev"]):
        wanted = Requirement(text)
        assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)]), text


def test_conda_script_leaves_an_environment_alone(tmp_path: Path) -> None:
    done = _conda(tmp_path, 'echo "$@" >> "$CALLS"; echo "x  /opt/envs/cross_task_sed"')
    assert done.returncode == 2
    assert "is there already" in done.stderr
    assert (tmp_path / "calls").read_text() == "env list\n"


def test_golden_files_are_those_of_the_specification() -> None:
    from tests.support.shared_data import shared_path

    shared = shared_path("golden")
    for path in shared.iterdir():
        assert (GOLDEN / path.name).read_bytes() == path.read_bytes(), path.name
