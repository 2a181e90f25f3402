#!/usr/bin/env bash
# The main job from start to finish on the model inside the project.
# usage: Tools/demo.sh PATH-OF-ADZE
set -euo pipefail
cd "$(dirname "$0")/.."

adze=$1
model=Calibration/Models/acorn
out=demo-output
rm -rf "$out"
mkdir -p "$out"

step() {
  printf '\n\033[1m$ adze %s\033[0m\n' "$*"
  "$adze" "$@"
}

calibration=(--corpus Calibration/Texts/calibration.txt --corpus Calibration/Texts/sampled.txt)

step inspect $model
step quantize $model -o $out/int4-gptq --method gptq --codec int4 --group-size 32 "${calibration[@]}" --report $out/int4-gptq.json
step quantize $model -o $out/int4-rtn --method rtn --codec int4 --group-size 32
step quantize $model -o $out/int8 --method rtn --codec int8 --group-size 32
for name in int4-gptq int4-rtn int8; do
  step pack $out/$name -o $out/$name.adze
done
step pack $model -o $out/bf16.adze
step verify $out/int4-gptq.adze
step bench $out/int4-gptq.adze -r 3
step run $out/int4-gptq.adze -p "The river" -n 48 --temperature 0.7 --seed 7
step compare $out/bf16.adze $out/int8.adze $out/int4-rtn.adze $out/int4-gptq.adze \
  --corpus Calibration/Texts/evaluation.txt --report $out/report.html
printf '\nA page with charts: %s/report.html\n' "$out"
