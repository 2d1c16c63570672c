#!/usr/bin/env bash
# Unit tests on every interpreter that the package promises and this machine has, with the oldest and the newest versions
# that pyproject.toml allows. PYTHONS ("3.11 3.12 3.13"), RESOLUTIONS ("lowest-direct highest"), ARGS for pytest.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${TRIPLANE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/triplane}
uv=$(command -v uv || echo "$cache/uv/bin/uv")
export UV_PYTHON_DOWNLOADS=never
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0

for version in ${PYTHONS:-3.11 3.12 3.13}; do
    # uv knows pyenv's shims alone, which run one version each.
    python=$("$uv" python find --no-project "$version" 2>/dev/null ||
        compgen -G "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version.*/bin/python" | tail -n 1) || {
        echo "versions $version: no such interpreter here"
        continue
    }
    for resolution in ${RESOLUTIONS:-lowest-direct highest}; do
        venv=$scratch/venv
        rm -rf "$venv"
        "$uv" venv --quiet --no-project --python "$python" "$venv"
        "$uv" pip compile --quiet --all-extras --python-version "$version" --resolution "$resolution" \
            --output-file "$scratch/pinned.txt" pyproject.toml
        "$uv" pip install --quiet --python "$venv" --requirement "$scratch/pinned.txt"
        # The tools that test are the newest that go with what is tested.
        "$uv" pip install --quiet --python "$venv" --constraint "$scratch/pinned.txt" --group dev
        "$uv" pip install --quiet --python "$venv" --no-deps --editable .
        # shellcheck disable=SC2086
        if "$venv/bin/python" -m pytest -q -n "${WORKERS:-2}" -p no:cacheprovider tests/unit tests/dags ${ARGS:-}; then
            echo "versions $version $resolution: passed"
        else
            echo "versions $version $resolution: FAILED"
            failed=1
        fi
    done
done
exit $failed
