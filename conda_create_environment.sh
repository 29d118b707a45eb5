#!/usr/bin/env bash
# Creates the environment `cross_task_sed` with conda or micromamba and installs in it the exact
# versions of requirements.lock and requirements-nodeps.lock, the same that `make demo` uses.
#
#   ./conda_create_environment.sh && conda activate cross_task_sed
set -euo pipefail

name=cross_task_sed
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
lock=$root/requirements.lock
without_dependencies=$root/requirements-nodeps.lock

if [ ! -f "$lock" ]; then
    echo "error: $lock is missing; get the whole project, not this script alone" >&2
    exit 2
fi

manager=
for candidate in conda micromamba; do
    if command -v "$candidate" >/dev/null 2>&1; then
        manager=$candidate
        break
    fi
done
if [ -z "$manager" ]; then
    echo "error: neither conda nor micromamba is on the PATH; install one of them" \
        "(for example Miniforge), or use 'make demo', which needs only Python 3.11 or newer" >&2
    exit 2
fi

if "$manager" env list | grep -q "/$name\$"; then
    echo "error: the environment $name exists already; remove it with" \
        "'$manager env remove --name $name', or use it" >&2
    exit 2
fi

"$manager" create --yes --name "$name" --channel conda-forge python=3.11 pip
"$manager" run --name "$name" python -m pip install --requirement "$lock"
"$manager" run --name "$name" python -m pip install --no-deps --requirement "$without_dependencies"
"$manager" run --name "$name" python -m pip install --no-deps --no-build-isolation --editable "$root"

echo "Environment $name is ready: $manager activate $name"
