#!/usr/bin/env bash
# benchmarks/gpu_stay.sh [MINUTES] [OUT]: all that a short stay on a GPU can show, in stages, each with a time limit.
#
# Every stage writes OUT/<stage>.log, and a line in OUT/stages.txt when it ends; a stage that fails or runs out of time
# does not keep the next from running. What takes long comes last and goes on until the time is up. OUT/stay.tar.gz has
# all of it in one file, and the study's new results, but no model and no cache; it is made anew after every stage.
#
# Nothing is fetched and nothing installed: PYTHON (default python3) needs torch, transformers and numpy; not tokenizers
# 0.23.2, which is refused where it loses windows. PROFILE=mini, the default of the study where there is a mirror, wants
# MUPPET_HUB to hold its datasets and its model; without a mirror the study is smoke's. Token caches that were made
# elsewhere save the workers a minute, in MUPPET_ARTIFACTS/cache. The study is a stage for each artefact in STUDY, in this
# order (default: every one), with JOBS workers; no model leaves a stay, so what starts from one is best done in the same.
# STAGES="gates bench" runs these alone (a second call goes on where the first had to end), DEVICE=cpu tries the whole
# script on tiny things where there is no GPU, STRETCH=3 gives a slow machine three times as long for each stage.
set -u
cd "$(dirname "$0")/.."
minutes=${1:-14} out=${2:-${OUT:-artifacts/gpu-stay}} python=${PYTHON:-python3} device=${DEVICE:-cuda}
mkdir -p "$out"
out=$(cd "$out" && pwd)
export MUPPET_DEVICE=$device MUPPET_ARTIFACTS=${MUPPET_ARTIFACTS:-$out/artifacts} HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
export PYTORCH_ALLOC_CONF=expandable_segments:True TORCH_CUDNN_SDPA_DEPRIORITIZED=1 PYTHONUNBUFFERED=1
# Where there is no git, whoever packed the code says of what commit it is.
export MUPPET_COMMIT=${MUPPET_COMMIT:-$(git rev-parse HEAD 2>/dev/null || echo unknown)}
started=$SECONDS until=$((SECONDS + minutes * 60))

stage() { # stage NAME SECONDS COMMAND...: within SECONDS and the time that is left, then SIGTERM, and SIGKILL 20 s later
    local name=$1 limit=$(($2 * ${STRETCH:-1})) left=$((until - SECONDS)) began=$SECONDS code
    shift 2
    case " ${STAGES:-$name} " in *" $name "*) ;; *) return ;; esac
    [ "$left" -lt "$limit" ] && limit=$left
    if [ "$limit" -lt 1 ]; then echo "$name: not begun, the time is up" | tee -a "$out/stages.txt"; return; fi
    timeout --kill-after=20 "$limit" "$@" >"$out/$name.log" 2>&1 & # in a group of its own, which no signal to ours reaches
    child=$!
    wait "$child"
    code=$?
    echo "$name: exit $code after $((SECONDS - began)) s (limit $limit)" | tee -a "$out/stages.txt"
    pack
    return $code
}

pack() { # under a name of its own first: the stay may end at any time
    { find "$out" -maxdepth 1 -type f -newer "$out/.began" ! -name 'stay.tar*'; find results -type f -newer "$out/.began"; } 2>/dev/null |
        tar -czf "$out/stay.tar.part" --transform "s|^${out#/}/||" -T - 2>/dev/null && mv "$out/stay.tar.part" "$out/stay.tar.gz"
}

if [ -z "${PROFILE:-}" ]; then if [ -n "${MUPPET_HUB:-}" ]; then PROFILE=mini; else PROFILE=smoke; fi; fi
if [ "$device" = cpu ]; then bench=(--tiny) PROFILE=smoke; else bench=(); fi
if [ -n "${ONLY:-}" ]; then only=(--only "$ONLY"); else only=(); fi # cells, as row/column
jobs=${JOBS:-8} # of small models on one GPU, which one of them leaves idle

# Many small models on one GPU: NVIDIA's daemon lets their kernels run side by side, where they would take turns. A worker
# takes a core to launch them.
side_by_side() {
    { [ "$device" = cuda ] && command -v nvidia-cuda-mps-control >/dev/null; } || return
    export CUDA_MPS_PIPE_DIRECTORY=$out/.mps CUDA_MPS_LOG_DIRECTORY=$out/.mps
    mkdir -p "$out/.mps" && nvidia-cuda-mps-control -d
    if timeout 30 "$python" -c "import torch; torch.ones(1, device='cuda').item()"; then jobs=${JOBS:-$(nproc)}; else one_by_one; fi
}

one_by_one() {
    [ -n "${CUDA_MPS_PIPE_DIRECTORY:-}" ] || return
    echo quit | timeout 10 nvidia-cuda-mps-control
    unset CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY
}

child=
trap 'if [ -n "$child" ]; then kill "$child" 2>/dev/null; wait "$child"; fi; one_by_one; pack; exit 143' TERM INT
[ -e "$out/.began" ] || touch -d '1 second ago' "$out/.began"
touch "$out/stages.txt"
# The first command reads all of torch from a cold disk. Where growing segments cannot be had, do without.
stage versions 120 "$python" -m benchmarks.stay versions || {
    export PYTORCH_ALLOC_CONF=expandable_segments:False
    stage versions_again 60 "$python" -m benchmarks.stay versions
}
stage gates 180 "$python" -m benchmarks.gates --device "$device"
stage prefinetune 60 "$python" -m muppet prefinetune --model tiny/roberta --tasks rte,boolq,commonsense_qa,squad --twins \
    --updates 20 --sub-batches 8 --max-tokens 1024 --max-length 128 --rows 200 --out "$out/artifacts/muppet"
stage finetune 60 "$python" -m muppet finetune --model "$out/artifacts/muppet" --task rte --twins --reuse-head --epochs 1 \
    --max-length 128 --rows 200 --out "$out/artifacts/rte"
stage predict 60 sh -c "echo '{\"text\": \"A man sleeps.\", \"pair\": \"He rests.\"}' | '$python' -m muppet predict --model '$out/artifacts/rte'"
stage attention 30 "$python" -m benchmarks.stay attention
stage bench 420 "$python" -m benchmarks gpu --minutes 6 --out "$out" "${bench[@]}"
stage profile 60 "$python" -m benchmarks.stay profile "$out"
# 30 s before the end, so that runs have time for their checkpoints: a later stay goes on from them.
case " ${STAGES:-study} " in *" study "*)
    [ "$until" -gt "$((SECONDS + 30))" ] && side_by_side
    for name in ${STUDY:-$("$python" -c "from studies import ARTEFACTS; print(*ARTEFACTS)")}; do
        STAGES='' stage "$name" $((until - SECONDS - 30)) \
            "$python" -m studies "$name" --profile "$PROFILE" --jobs "$jobs" --yes "${only[@]}"
    done
    one_by_one
    ;;
esac
echo "all stages ended after $((SECONDS - started)) s; what they wrote: $out, results/" | tee -a "$out/stages.txt"
pack
