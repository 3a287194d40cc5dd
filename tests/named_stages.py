"""A run folder as readers find it."""

from recam.runfolder.store import write_json


def name_stages(run, **keys):
    """``run.json`` with the keys of these stages, dots for slashes; what readers need besides is empty."""
    maps = {"stage": "", "scores": "", "name": "", "title": "", "threshold": 0.2, "folder": ""}
    content = {
        "format": 2,
        "recipe": {},
        "stages": {name: {"key": key, "label": {}} for name, key in keys.items()},
        "models": {"classifier": "", "seeds": maps, "maps": maps, "inference": {}, "map_inference": {}},
    }
    write_json(run.root / "run.json", content)
