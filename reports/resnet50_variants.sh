#!/bin/sh
# Makes resnet50_fpraker.*, resnet50_tensordash.* and resnet50_tensordash_rows*.txt in this folder; about half a minute.
set -eu
cd "$(dirname "$0")/.."
simhw=${SIMHW:-simhw}

"$simhw" compare --details --trace traces/resnet50.npz \
  --pe fpraker \
  --pe fpraker-literal --pe fpraker-literal:pe.oob_threshold=9 --pe fpraker-literal:pe.oob_threshold=6 \
  --pe fpraker-literal:tile.sync=term --pe fpraker-literal:pe.oob=column --pe fpraker-literal:tile.sync=term,pe.oob=column \
  --pe fpraker-literal:lowering.serial=a --pe fpraker-literal:lowering.serial=w --pe fpraker-literal:lowering.serial=g \
  --pe fpraker-literal:lowering.serial=oracle \
  --out reports/resnet50_fpraker.csv --plot reports/resnet50_fpraker.png > reports/resnet50_fpraker.txt

"$simhw" compare --details --trace traces/resnet50.npz \
  --pe tensordash --pe tensordash:pe.order=dnnsim --pe tensordash:pe.depth=2 --pe tensordash:pe.sides=two \
  --pe tensordash:lowering.scheduled=w --pe tensordash:lowering.scheduled=g \
  --out reports/resnet50_tensordash.csv --plot reports/resnet50_tensordash.png > reports/resnet50_tensordash.txt

# As many PEs in tiles of 1, 4 and 16 rows, each against the dense machine with the same tiles.
for tiles in tile.rows=1,tiles=64 tile.rows=4,tiles=16 tile.rows=16,tiles=4; do
  rows=${tiles%%,*}
  "$simhw" compare --details --trace traces/resnet50.npz --pe "tensordash:$tiles" --pe "tensordash:pe.order=dnnsim,$tiles" \
    --baseline "tensordash-dense:$tiles" > "reports/resnet50_tensordash_rows${rows#tile.rows=}.txt"
done

python=${PYTHON:-python3}
"$python" reports/cycles_per_set.py reports/resnet50_fpraker.csv reports/resnet50_tensordash.csv > reports/resnet50_cycles_per_set.md
