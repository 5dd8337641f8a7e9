#!/usr/bin/env bash
# What the README's GPU column lacks, on one GPU in ten minutes and without a network: in order of value, each result recorded as it comes.
#
#     [SMOLLM2=model.gguf] [GSM8K=rows.jsonl] bench/gpu_session.sh OUT [--tiny]
#
# OUT becomes a folder of records and logs; session.json in it has the seconds and the exit code of every part. Parts that find no time left
# are skipped, one that takes too long is ended; what it had recorded stays. Needs soka with its requirements, and pytest.
# SMOLLM2 is the base of the recipe and of the comparison; a file that came in pieces, model.gguf.0, model.gguf.1 and so on, is put together.
# GSM8K holds its rows (question, answer). Without them the embedded base and word problems stand in. --tiny tries all of it on a CPU.
set -uo pipefail
OUT=${1:?bench/gpu_session.sh must be given a folder to write to}; mkdir -p "$OUT"; OUT=$(cd "$OUT" && pwd)
cd "$(dirname "$0")/.."
TINY=${2:-}; PYTHON=${PYTHON:-python}; BASE=${SMOLLM2:-base}; ROWS=${GSM8K:-problems}; SECONDS=0; LIMIT=600
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} SOKA_CACHE=$OUT/cache HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 TOKENIZERS_PARALLELISM=false
if [ "$BASE" != base ] && [ ! -f "$BASE" ]; then cat "$BASE".[0-9]* > "$OUT/base.gguf" && BASE=$OUT/base.gguf; fi

part() {   # NAME, most seconds, command: run it, log it, record how it went
    local name=$1 most=$2 left=$((LIMIT - SECONDS)) began=$SECONDS code=skipped; shift 2
    if [ $left -gt 10 ]; then timeout --signal=INT --kill-after=10 $((most < left ? most : left)) "$@" > "$OUT/$name.log" 2>&1; code=$?; fi
    echo "$name: $code after $((SECONDS - began)) s"
    printf '{"part": "%s", "code": "%s", "seconds": %d}\n' "$name" "$code" $((SECONDS - began)) >> "$OUT/session.jsonl"
    "$PYTHON" -c 'import json, sys; print(json.dumps([json.loads(s) for s in open(sys.argv[1])], indent=1))' "$OUT/session.jsonl" > "$OUT/session.json"
}

rm -f "$OUT/session.jsonl"
if [ "$TINY" = --tiny ]; then
    STEP=(--tiny --steps 1); RUN=(--max_steps 2 --batch_size 4 --max_length 64 --data_rows 32 --eval_rows 8 --budget 20000); LIMIT=3600
    COMPARE="steps: 3, warmup: 1, rates: [1.0e-2], seeds: [0]"; TASK="batch: 4, validation: 8, test: 8, longest: 96"
else
    STEP=(--steps 3); RUN=(--max_steps 50 --batch_size 16 --max_length 256 --data_rows 1200 --eval_rows 100)
    COMPARE="steps: 60, warmup: 6, rates: [2.5e-3, 1.0e-2], seeds: [0, 1]"; TASK="batch: 8, validation: 64, test: 128, longest: 256"
fi
cat > "$OUT/compare.yaml" <<YAML
{records: $OUT/compare, bases: {model: "$BASE"}, tasks: {rows: {data: "$ROWS", $TASK}}, full: 4, $COMPARE,
 arms: {lora: {method: lora}, "soka 75%": {method: soka, share: 0.75}, "soka 75% nf4": {method: soka, share: 0.75, quantize: nf4, against: lora nf4}, lora nf4: {method: lora, quantize: nf4}}}
YAML
RECIPE=("$PYTHON" -m soka.cli train recipes/llama2-7b-gsm8k.yaml --model "$BASE" --data "$ROWS" --data_name null --template plain --gradient_accumulation 1 --epochs 1 "${RUN[@]}")

part kernels     60 "$PYTHON" -m pytest -q -m cuda tests/test_method_kernels.py tests/test_method_kernels_tests.py
part step       220 "$PYTHON" bench/gpu.py --only ceilings nf4 "${STEP[@]}" --out "$OUT/bench-gpu.json"
part recipe      90 "${RECIPE[@]}" --output_dir "$OUT/recipe"
part compare    150 "$PYTHON" -m soka.cli compare "$OUT/compare.yaml"
part rest       300 "$PYTHON" bench/gpu.py --only layer bf16 "${STEP[@]}" --out "$OUT/bench-gpu.json"
