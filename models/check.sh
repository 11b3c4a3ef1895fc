#!/bin/sh
# check.sh MODEL [-DNAME=VALUE ...]: the model holds within its bounds, and each of its mutants fails.
set -eu
model=$1; shift
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
cp "$(dirname "$0")/$model.pml" "$dir/"; cd "$dir"
run() { # the flags of one run
	spin -a "$@" "$model.pml" >/dev/null && cc -O1 -w -DSAFETY -DCOLLAPSE -o pan pan.c && ./pan -m1000000 -w22
}
out=$(run "$@")
echo "$out" | grep -q "errors: 0" && ! echo "$out" | grep -q "max search depth too small" || { echo "$model: does not hold"; echo "$out"; exit 1; }
echo "$model: holds, $(echo "$out" | sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p') states"
for m in $(sed -n 's/^ \*   \(M_[A-Z]*\) .*/\1/p' "$model.pml"); do
	run "$@" "-D$m" | grep -q "errors: 1" || { echo "$model: mutant $m does not fail"; exit 1; }
	echo "$model: mutant $m fails, as it must"
done
