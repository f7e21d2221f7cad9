#!/usr/bin/env bash
# The newcomer's walk: README from top to bottom in a fresh clone with a fresh environment, then with the wheel alone in
# another one, away from any checkout. Prints the time of each step and of all; stops at the first that fails.
#
#   tests/walk.sh [clone] [wheel]      default: both
#
#   WALK          folder to walk in (default: a new one, removed when all went well); one that is there goes on
#   WALK_INDEX    passed to make as TORCH_INDEX: where torch, torchvision and torchaudio come from, e.g. CPU builds
#   WALK_FROM     the line of the README to begin with (default 0), to go on after a failure
#   PYTHON        the Python that environments are made with (default python3)
#
# Trainings are a few steps long and data are made here: walk.py says what is smaller than in the README, and what is left out.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
walk=${WALK:-$(mktemp -d)}
mkdir -p "$walk"
began=$SECONDS
[ $# -gt 0 ] || set -- clone wheel
unset PYTHONPATH

step() {  # step WHAT CMD...: runs it quietly, prints how long it took, and shows the end of its output if it fails
    local what=$1 from=$SECONDS
    shift
    "$@" > "$walk/log" 2>&1 || { tail -30 "$walk/log"; echo "FAILED: $what"; exit 1; }
    echo "$((SECONDS - from)) s  $what"
}

torch() {  # torch BIN: installs the three that must fit one another from an index of the user's
    [ -z "${WALK_INDEX:-}" ] || "$1/python" -m pip install -q torch torchvision torchaudio --index-url "$WALK_INDEX"
}

in_clone() {
    [ -d "$walk/clone" ] || step "git clone" git clone -q "$root" "$walk/clone"
    cd "$walk/clone"
    step "make an environment and install" make -s .venv/installed-flow PYTHON="$python" TORCH_INDEX="${WALK_INDEX:-}"
    step "pip install timm" .venv/bin/python -m pip install -q -e '.[timm]'
    .venv/bin/python "$root/tests/walk.py" clone "$walk/data"
}

with_wheel() {
    mkdir -p "$walk/away/wheel"
    cd "$walk/away"
    [ -d source ] || step "git clone, to build from" git clone -q "$root" source
    [ -e env ] || step "make an environment" "$python" -m venv env
    step "pip wheel" env/bin/python -m pip wheel -q --no-deps -w wheel ./source
    step "install torch" torch env/bin
    step "pip install the wheel" env/bin/python -m pip install -q "$(echo wheel/pretext_tasks-*.whl)[flow,timm]"
    mkdir -p home
    cd home
    ../env/bin/python "$root/tests/walk.py" wheel "$walk/data"
}

for part in "$@"; do
    echo "== $part"
    case $part in
        clone) (in_clone) ;;
        wheel) (with_wheel) ;;
        *) echo "clone or wheel, got $part"; exit 2 ;;
    esac
done
[ -n "${WALK:-}" ] || rm -rf "$walk"
echo "the walk took $((SECONDS - began)) s"
