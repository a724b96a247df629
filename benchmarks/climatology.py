"""A small operator trained on a real monthly climatology with land, beside persistence.

    python benchmarks/climatology.py PATH_OF_coads_climatology.cdf [--seeds 0 1 2]

Three fields on 90 × 180 points over the sea, from the file as NOAA publishes it: points that lack a
value in any month are masked (`holes: mask`), the twelve months are split in time. What is printed
is the test split's only forecast, December from October and November.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from pelagos.finetune.cli.console import main as pelagos

FIELDS = ("SST", "UWND", "VWND")
DESCRIPTION = """\
axes: [time, COADSY, COADSX]
fields: {SST: SST, UWND: UWND, VWND: VWND}
time: TIME
boundary: [open, periodic]
holes: mask
splits: {by: time, train: 6, valid: 3, test: 3, gap: 0}
"""
RECIPE = """\
operator: {name: dymixop, history: 2, hidden: 16, layers: 2, modes: 12}
normalizer: {name: window}
objective: {horizon: 1}
optimizer: {learning_rate: 2.0e-3}
steps: 60
batch: 2
micro_batch: 2
log_every: 10
save_every: 60
validation: {every: 20, horizon: 1}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    scores: dict[str, list[dict[str, float]]] = {"dymixop": [], "persistence": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data").mkdir()
        (folder / "data" / options.file.name).symlink_to(options.file.absolute())
        (folder / "data" / "description.yaml").write_text(DESCRIPTION)
        data = json.dumps([{"path": str(folder / "data")}])
        (folder / "recipe.yaml").write_text(f"data: {data}\n{RECIPE}")
        for seed in options.seeds:
            run = str(folder / f"run{seed}")
            pelagos(["pretrain", str(folder / "recipe.yaml"), run, "--seed", str(seed)])
            pelagos(["evaluate", run, str(folder / "data"), "--steps", "1"])
            found = json.loads((Path(run) / "evaluation.json").read_text())
            for rows, key in zip(scores.values(), ("scores", "persistence"), strict=True):
                vrmse = found[key]["vrmse"]
                rows.append({field: vrmse[field]["mean"][0] for field in FIELDS})
    print("| field | DyMixOp | persistence |\n|---|---|---|")
    for field in FIELDS:
        ours, base = ([row[field] for row in scores[m]] for m in ("dymixop", "persistence"))
        spread = f"{statistics.mean(ours):.3f} ({min(ours):.3f} to {max(ours):.3f})"
        print(f"| {field} | {spread} | {base[0]:.3f} |")


if __name__ == "__main__":
    main()
