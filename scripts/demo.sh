#!/usr/bin/env bash
# The whole road in minutes: assets, curation, renders, shards, page, a trained toy model.
# Every step picks up where it was; a second run finds everything done.
set -euo pipefail
out=${1:-demo}
workers=$(nproc)
[ "$workers" -gt 4 ] && workers=4

say() { printf '\n== %s\n' "$*"; }

say "1/4  animated assets, made from nothing"
orbit4d samples "$out/assets"
say "2/4  curate, render, shard"
orbit4d build "$out/assets" --out "$out/run" --config configs/demo.yaml --workers "$workers"
orbit4d contact "$out/run" "$out/contact.png" --sequence static --sequence orbit --sequence front --columns 5
say "3/4  train a toy model on the shards"
orbit4d train fit --preset tiny --data "$out/run" --out "$out/fit"
say "4/4  generate orbits of clips it has not seen"
orbit4d train sample --fit "$out/fit" --data "$out/run" --out "$out/generated"

cat <<EOF

Done. Look at:
  $out/assets/           the animated files and their ground truth
  $out/run/report/index.html   every clip, kept or dropped, and why (open it in a browser)
  $out/contact-*.png     what was rendered
  $out/run/shards/       the shards
  $out/generated/        generated orbits beside the truth
EOF
