"""What a test session skipped, in one line with the way to have it run, and the refusal to pass where that must not
happen."""

from collections import Counter
from collections.abc import Iterable

BROWSER = "no Chromium found"
"""Begins the reason for which a browser test is skipped."""
GOLDEN = "no golden cases"
"""Begins the reason for which a golden case is skipped."""
EXTRA = "an extra is not installed"
IMPORTERS = "no importers"
"""Begins the reason for which an export is not read back by what people import it with."""

WAYS_OUT = {
    BROWSER: ("browser", "install Chromium (apt-get install chromium, or name one in RECAM_CHROMIUM)"),
    GOLDEN: ("golden", "set RECAM_GOLDEN to the folder of golden cases"),
    IMPORTERS: ("importers", "make test, or name a Python that has them in RECAM_IMPORTERS"),
    EXTRA: ("extra", "pip install -e '.[demo,dev,crf,onnx,heif,tiff,tools,superpixels,saliency,ray,docs]'"),
}


def kind_of(reason: str) -> str:
    """Which of `WAYS_OUT` a reason for skipping belongs to; the reason itself where it is none of them."""
    words = reason.removeprefix("Skipped: ")
    begun = next((known for known in WAYS_OUT if words.startswith(known)), None)
    if begun is None and ("pip install" in words or "extra" in words or "could not import" in words):
        return EXTRA
    return begun or words


def describe(reasons: Iterable[str]) -> str:
    """E.g. ``9 golden (set RECAM_GOLDEN …)``, one part per kind; empty where nothing was skipped."""
    counts = Counter(kind_of(reason) for reason in reasons)
    parts = []
    for kind, count in sorted(counts.items()):
        name, way_out = WAYS_OUT.get(kind, ("other", kind))
        parts.append(f"{count} {name} ({way_out})")
    return "; ".join(parts)


def forbidden(reasons: Iterable[str], required: str) -> list[str]:
    """Names among `required` (e.g. ``browser,golden``) of which a test was skipped."""
    wanted = {name.strip() for name in required.split(",") if name.strip()}
    skipped = {WAYS_OUT.get(kind_of(reason), ("other", ""))[0] for reason in reasons}
    return sorted(wanted & skipped)
