#!/usr/bin/env bash
# Tries adze against the tools that own the formats: they read what it writes, it reads what they write.
# Installs them from PyPI into .build/conformance (llama-cpp-python is compiled, which takes some minutes).
# usage: Tools/conformance.sh [options of Tests/Conformance/conformance.py]
#   PYTHON   a Python that has everything already; nothing is installed then
#   ADZE     the program to try (default: a release build of this repository)
#   LLAMA_TOOLS  a folder with llama-imatrix, llama-perplexity and llama-quantize, whose files are tried then, too
#   ADZE_SHARED  a folder of reference data: fixtures/, models/birch, corpora/
set -euo pipefail
cd "$(dirname "$0")/.."

suite=Tests/Conformance
if [ -z "${PYTHON:-}" ]; then
  environment=.build/conformance
  PYTHON=$environment/bin/python
  if ! cmp -s $suite/requirements.txt $environment/installed.txt; then
    python3 -m venv $environment
    $PYTHON -m pip install --quiet --requirement $suite/requirements.txt
    cp $suite/requirements.txt $environment/installed.txt
  fi
fi

if [ -z "${ADZE:-}" ]; then
  ${SWIFT:-swift} build -c release --product adze
  ADZE=.build/release/adze
fi

export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec "$PYTHON" $suite/conformance.py --adze "$ADZE" ${LLAMA_TOOLS:+--llama-tools "$LLAMA_TOOLS"} "$@"
