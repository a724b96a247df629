"""Does pretraining help? Fine-tuning against training from scratch, over seeds.

Run `make quickstart` first; it leaves the data and the pretrained checkpoint. Then, from the root:

    . .venv/bin/activate
    OMP_NUM_THREADS=1 python benchmarks/transfer.py --seeds 0 1 2

Each seed draws other initial weights (from scratch) and another order of the same 16 training
trajectories; data and pretrained weights are the quickstart's, the budget its recipe's. Prints a
table of the mean rollout VRMSE over the 32 test trajectories and 25 frames (5 time units), one row
per start.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

DATA = Path("data/quickstart/korteweg_de_vries_1d")
SLOWER = ["--optimizer.learning-rate", "1e-3"]  # weights that know much are moved with care
STARTS = {
    "shipped": ["--init-from", "pelagos:dymixop-1d", "--operator", "{name: dymixop}", *SLOWER],
    "pretrained": ["--init-from", "runs/quickstart/pretrain"],
    "scratch": [],
}
SCORES = ("vrmse_one_step", "vrmse", "vrmse_median", "valid_time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/transfer"))
    arguments = parser.parse_args()
    summaries = {
        start: [score(start, seed, arguments.out) for seed in arguments.seeds] for start in STARTS
    }
    print("| start | " + " | ".join(SCORES) + " |")
    print("|---|" + "---|" * len(SCORES))
    for start, found in [*summaries.items(), ("persistence", persistence(summaries))]:
        cells = [spread([summary[name] for summary in found]) for name in SCORES]
        print(f"| {start} | {' | '.join(cells)} |")


def score(start: str, seed: int, out: Path) -> dict:
    """Train (unless done before), evaluate, and return the summary."""
    run = out / f"{start}-{seed}"
    training = ["quickstart", str(run), "--resume", "auto", "--seed", str(seed), *STARTS[start]]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    call(sys.executable, *launcher, "-m", "pelagos.finetune", *training)
    if not (run / "evaluation.json").exists():
        call("pelagos", "evaluate", str(run), str(DATA), "--steps", "25")
    return json.loads((run / "evaluation.json").read_text())["summary"]


def persistence(summaries: dict[str, list[dict]]) -> list[dict]:
    return [summaries["scratch"][0]["persistence"]]


def spread(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"


def call(*arguments: str) -> None:
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
