"""A part of the training images that a classifier does not learn from, so that their image labels can judge it.

After iterative stratification (Sechidis et al., ECML PKDD 2011): the rarest class first, each class gives its share,
and the images that show several count for all of them. Which image goes where depends on ids, labels and the seed
alone, not on the order of images.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

from recam.types import Sample

FEWEST = 2
"""Images of a class that stay to be learned from, whatever the share; a class with fewer gives none."""


def hold_out(samples: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """(kept, held out), each in the order of `samples`.

    Args:
        samples: training images with their labels.
        share: part of each class to hold out, in [0, 1); at least one image of a class that has three.
        seed: another seed holds out other images.
    """
    turn = {sample.id: hashlib.sha256(f"{seed}/{sample.id}".encode()).digest() for sample in samples}
    waiting = sorted(samples, key=lambda sample: turn[sample.id])
    total = Counter(label for sample in samples for label in sample.labels)
    held: set[str] = set()
    taken: Counter[int] = Counter()
    for label in sorted(total, key=lambda label: (total[label], label)):
        wanted = min(max(1, round(share * total[label])), total[label] - FEWEST) if share else 0
        for sample in waiting:
            if taken[label] >= wanted:
                break
            spared = all(total[each] - taken[each] > FEWEST for each in sample.labels)
            if label in sample.labels and sample.id not in held and spared:
                held.add(sample.id)
                taken.update(sample.labels)
    unlabelled = [sample for sample in waiting if not sample.labels]
    held.update(sample.id for sample in unlabelled[: round(share * len(unlabelled))])
    return [sample for sample in samples if sample.id not in held], [s for s in samples if s.id in held]
