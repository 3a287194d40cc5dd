"""Mean ± sample standard deviation over runs that differ in their seed only, as Markdown.

for seed in 0 1 2; do
  recam run --data voc:PATH --recipe recam-cpu --set seed=$seed -o runs/voc-$seed
done
python benchmarks/mean_of_runs.py runs/voc-0 runs/voc-1 runs/voc-2

``--against MAPS`` compares the other maps with these, seed by seed (default: control, ReCAM's).
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from recam.runfolder.store import read_json


def spread(values: Iterable[float | None], digits: int = 2) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    deviation = f" ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else ""
    return f"{statistics.mean(known):.{digits}f}{deviation}"


def percent(values: Iterable[float | None]) -> str:
    return spread(None if value is None else 100 * value for value in values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--against", default="control", metavar="MAPS")
    args = parser.parse_args()
    folders, against = args.runs, args.against
    runs: list[dict[str, Any]] = [read_json(Path(folder) / "summary.json") for folder in folders]
    print(f"{len(runs)} runs: {', '.join(folders)}\n")
    unit = next((run["cost_unit"] for run in runs if run["cost_unit"]), "first maps")
    heading = f"| maps | mIoU, oracle threshold | above {against} | threshold | mIoU, Otsu's | mIoU, recipe's | minutes"
    heading += f" | × {unit} |"
    print(f"{heading}\n|---|---|---|---|---|---|---|---|")
    for name in dict.fromkeys(name for run in runs for name in run["maps"]):
        having = [run for run in runs if name in run["maps"]]
        found = [run["maps"][name] for run in having]
        otsu = percent(each["otsu"] and each["otsu"]["miou"] for each in found)
        recipe = percent(each["recipe"] and each["recipe"]["miou"] for each in found)
        # Seed by seed, since runs of one seed share the classifier that they start from.
        pairs = [
            (each.get("miou"), run["maps"].get(against, {}).get("miou"))
            for run, each in zip(having, found, strict=True)
        ]
        gains = [own - other for own, other in pairs if own is not None and other is not None]
        cells = [percent(each.get("miou") for each in found), percent(gains)]
        cells += [spread(each.get("threshold") for each in found), otsu, recipe]
        cells += [spread((each.get(key) for each in found), 1) for key in ("minutes", "cost_in_units")]
        shown = name if len(having) == len(runs) else f"{name} ({len(having)} of {len(runs)} runs)"
        print(f"| {shown} | {' | '.join(cells)} |")
    print("\n| what | mIoU |\n|---|---|")
    print(f"| pseudo masks | {percent(run['masks']['miou'] for run in runs)} |")
    for labels in ("pseudo", "truth"):
        print(
            f"| segmentation model, trained on {labels} masks | {percent(run['segmentation'][labels] for run in runs)}"
            " |"
        )
    print("\n| stage | minutes | images/s | peak MiB |\n|---|---|---|---|")
    for name in runs[0]["stages"]:
        costs = [run["stages"][name] for run in runs if name in run["stages"]]
        cells = [
            spread((cost[key] for cost in costs), digits)
            for key, digits in (("minutes", 2), ("images_per_second", 1), ("peak_memory_mb", 0))
        ]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
