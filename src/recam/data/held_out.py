"""A part of the training images that a classifier does not learn from, so that their image labels can judge it.

After iterative stratification (Sechidis et al., ECML PKDD 2011): the rarest class first, each class gives its share,
and the images that show several count for all of them. Images of one group go the same way, so a group is held out as a
whole or not at all. Which image goes where depends on ids, groups, labels and the seed alone, not on the order of
images.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

from recam.types import Sample

FEWEST = 2
"""Images of a class that stay to be learned from, whatever the share; a class with fewer gives none."""


def hold_out(samples: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """(kept, held out), each in the order of `samples`.

    Args:
        samples: training images with their labels.
        share: part of each class to hold out, in [0, 1); at least one image of a class that has three. Of groups it
            is the part that whole groups come nearest to.
        seed: another seed holds out other images.
    """
    units = _units(samples, seed)
    total = Counter(label for sample in samples for label in sample.labels)
    held: set[str] = set()
    taken: Counter[int] = Counter()

    def hold(unit: list[Sample]) -> None:
        held.update(sample.id for sample in unit)
        taken.update(label for sample in unit for label in sample.labels)

    for label in sorted(total, key=lambda label: (total[label], label)):
        wanted = min(max(1, round(share * total[label])), total[label] - FEWEST) if share else 0
        for unit in units:
            if taken[label] >= wanted:
                break
            shown = Counter(label for sample in unit for label in sample.labels)
            spared = all(total[each] - taken[each] - count >= FEWEST for each, count in shown.items())
            # The first is taken whatever its size: without any, nothing would be judged.
            nearer = not taken[label] or taken[label] + shown[label] - wanted <= wanted - taken[label]
            if shown[label] and unit[0].id not in held and spared and nearer:
                hold(unit)
    unlabelled = [unit for unit in units if not any(sample.labels for sample in unit)]
    left = round(share * sum(map(len, unlabelled)))
    for unit in unlabelled:
        if len(unit) <= left:
            hold(unit)
            left -= len(unit)
    return [sample for sample in samples if sample.id not in held], [s for s in samples if s.id in held]


def _units(samples: Sequence[Sample], seed: int) -> list[list[Sample]]:
    """Images that go the same way, in the order in which they are asked: each alone, or a group."""
    units: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in sorted(samples, key=lambda sample: sample.id):
        units[("image", sample.id) if sample.group is None else ("group", sample.group)].append(sample)
    return [units[key] for key in sorted(units, key=lambda key: hashlib.sha256(f"{seed}/{key[1]}".encode()).digest())]
