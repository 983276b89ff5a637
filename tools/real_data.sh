#!/usr/bin/env bash
# The main job on real photographs: two rounds with a verdict on construction sites, two rounds
# without one on traffic cones, and a ranking of unlabeled dash-cam frames and videos.
# Data: $CURATION_SHARED/data (default ../shared). Results: $CURATION_HOME.
set -euo pipefail
cd "$(dirname "$0")/.."
shared=${CURATION_SHARED:-../shared}
curate=${CURATE:-.venv/bin/curate}
if [ ! -d "$shared/data" ]; then
  echo "There is no $shared/data. Set CURATION_SHARED to the folder that holds data/." >&2
  exit 1
fi

site=(round "$shared/data/construction_site_safety" --name construction
  --taxonomy construction_site --resplit --rounds 2 --budget 120 --epochs "${EPOCHS:-12}"
  --names 'Hardhat,Mask,NO-Hardhat,NO-Mask,NO-Safety Vest,Person,Safety Cone,Safety Vest,machinery,vehicle')
cones=(round "$shared/data/roboflow_traffic_cones" --name cones
  --resplit --rounds 2 --budget 120 --epochs "${EPOCHS:-12}"
  --names 'Cone,bicycle,car,cone,isolation-pile,plant,road-cone')

"$curate" "${site[@]}"
"$curate" "${cones[@]}"
"$curate" ingest "$shared/data/roadwork_clips" --name clips --drive-pattern '^(.+)_[0-9]+' --fps 1
"$curate" predict clips
"$curate" embed clips
"$curate" score clips
"$curate" choose clips --budget 40
"$curate" report clips

echo "Again: nothing is left to do."
"$curate" "${site[@]}"
"$curate" "${cones[@]}"
