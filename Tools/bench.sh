#!/usr/bin/env bash
# Speed of the embedded model, and of a peer in turn with it when one is given:
#   PEER_BENCH=/path/of/llama-bench PEER_MODEL=model.gguf MODEL=model.adze make bench
# usage: Tools/bench.sh PATH-OF-ADZE
set -euo pipefail
cd "$(dirname "$0")/.."

adze=$1
threads=${THREADS:-$(nproc)}
rounds=${ROUNDS:-5}

if [ -z "${MODEL:-}" ]; then
  "$adze" bench --kernels -t "$threads"
  mkdir -p demo-output
  for codec in int8 int4; do
    [ -f demo-output/bench-$codec.adze ] ||
      "$adze" quantize Calibration/Models/acorn -o demo-output/bench-$codec.adze --method rtn --codec $codec --group-size 32
    "$adze" bench demo-output/bench-$codec.adze -t "$threads" -r "$rounds"
  done
  "$adze" bench Calibration/Models/acorn -t "$threads" -r "$rounds"
  exit 0
fi
[ -n "${PEER_BENCH:-}" ] || exec "$adze" bench "$MODEL" -t "$threads" -r "$rounds"

# One repetition of each in turn, so that both meet the machine in the same mood; ratios pair by pair.
python3 - "$adze" "$MODEL" "$PEER_BENCH" "$PEER_MODEL" "$threads" "$rounds" <<'PYTHON'
import json, statistics, subprocess, sys

adze, model, peer, peer_model, threads, rounds = sys.argv[1:]
tests = [("pp512", ["-p", "512", "-n", "0"]), ("tg128", ["-p", "0", "-n", "128"])]

def rate(command):
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output)[0]["avg_ts"]

print(f"{'test':8} {'adze t/s':>10} {'peer t/s':>10} {'ratio':>7}   ratios of {rounds} rounds")
for name, arguments in tests:
    pairs = []
    for _ in range(int(rounds)):
        ours = rate([adze, "bench", model, "-t", threads, "-r", "1", "-o", "json"] + arguments)
        theirs = rate([peer, "-m", peer_model, "-t", threads, "-r", "1", "-o", "json"] + arguments)
        pairs.append((ours, theirs))
    ratios = sorted(ours / theirs for ours, theirs in pairs)
    print(f"{name:8} {statistics.median(p[0] for p in pairs):10.1f} {statistics.median(p[1] for p in pairs):10.1f} "
          f"{statistics.median(ratios):7.2f}   {ratios[0]:.2f} to {ratios[-1]:.2f}")
PYTHON
