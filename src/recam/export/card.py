"""The card of an exported network: what it learned from, how well it does, how it was made, and how it is asked.

Says what data a network comes from, never where they lay: of every path only the last part is told.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from recam.evaluation.metrics import ERROR_NAMES
from recam.inference.run_models import RunModels
from recam.recipe.recipe import load_recipe
from recam.recipe.sections import CLASSIFIER

INPUTS = {
    "images": "float32 (batch, 3, height, width): RGB in [0, 1], minus mean, over std; any batch, height and width"
}
OUTPUTS = {
    "segmenter": {
        "logits": "float32 (batch, K + 1, height, width): background first; softmax over axis 1 gives probabilities"
    },
    "classifier": {
        "logits": "float32 (batch, K): the sigmoid is the probability of each class in the image",
        "class_maps": "float32 (batch, K, ⌈height / stride⌉, ⌈width / stride⌉): raw; relu, then over its maximum",
    },
}
_DATA_LICENCES = {
    "voc": "VOC 2012: the photos come from Flickr and are under its terms of use; see the challenge's pages.",
    "coco": "COCO: the annotations are CC BY 4.0, the photos are under Flickr's terms of use.",
    "scenes": "The built-in scenes are drawn by recam and come with its MIT licence.",
}


def describe_model(models: RunModels, kind: str) -> dict[str, Any]:
    """What a card tells beside file, classes and check; JSON-ready.

    Args:
        models: a run's trainings.
        kind: ``segmenter`` or ``classifier``.
    """
    settings = without_places(models.recipe.model_dump(mode="json"))
    stage = models.segmenter if kind == "segmenter" else models.classifier
    assert stage is not None
    location = str(settings["data"]["location"])
    network = settings["segment"] if kind == "segmenter" else settings["backbone"]
    origin = settings["backbone"]["weights"] if network["weights"] == CLASSIFIER else network["weights"]
    named = {key: network[key] for key in ("model", "encoder", "name", "weights", "output_stride") if key in network}
    return {
        "kind": kind,
        "network": named,
        "inputs": INPUTS,
        "outputs": OUTPUTS[kind],
        "data": {"location": location, "training_images": models.record(stage.name).get("images")},
        "supervision": supervision(models, stage.name),
        "scores": scores(models, kind),
        "run": {"stage": stage.name, "key": stage.key, "packages": models.packages},
        "command": command(settings),
        "settings": settings,
        "licence": list(_licences(location.partition(":")[0], str(origin))),
    }


def supervision(models: RunModels, stage: str) -> dict[str, Any]:
    """What a network was told of the pixels: image labels, saliency, given class maps or true masks; and what true
    masks chose."""
    recipe = models.recipe.model_dump(mode="json")
    if stage == "segment/truth":
        return {"labels": "true masks", "notes": ["An upper bound: it learned from true masks."]}
    chain = [str(one) for one in recipe.get("refine") or []]
    masks = models.record("masks")
    notes = []
    if recipe["seeds"].get("source"):
        notes.append(
            "The class maps were made elsewhere and taken as they are; what they learned from is not known here."
        )
    if chain and stage != "classify":
        notes.append(f"Pseudo masks were refined by {', '.join(chain)}.")
    if masks.get("threshold_from") == "oracle":
        notes.append(
            "The threshold of the pseudo masks is the one that scores best on true masks of training images (oracle)."
        )
    recorded = models.done[stage].record.get("supervision") if stage in models.done else None
    return {"labels": " and ".join(recorded or ["image labels"]), "notes": notes}


def scores(models: RunModels, kind: str) -> dict[str, Any]:
    """Scores of the run in [0, 1], by what was scored; empty where there were no true masks."""
    if kind == "segmenter":
        assert models.segmenter is not None
        found = models.record(models.segmenter.name.replace("segment", "predictions"))
        return {"held-out images": {"images": found["images"], **found["scores"]}} if "scores" in found else {}
    told: dict[str, Any] = {}
    for stage in ("scores/recam", "scores/cam"):
        for name, found in models.record(stage).get("seeds", {}).items():
            told[f"class maps ({name}), oracle threshold"] = {
                "images": models.record(stage)["images"],
                **found["oracle"],
            }
    return told


def command(settings: Mapping[str, Any]) -> str:
    """The `recam run` that makes such a run again, where the data lie at the named place."""
    published = dict(_flat(load_recipe("recam").model_dump(mode="json")))
    own = {
        name: value
        for name, value in _flat(settings)
        if name not in ("about", "data.location") and published.get(name) != value
    }
    words = ["recam", "run", "--data", str(settings["data"]["location"])]
    for name, value in own.items():
        if value is not None:  # a setting without a value has that by default
            words += ["--set", f"{name}={_as_toml(value)}"]
    return shlex.join([*words, "-o", "run"])


def without_places(settings: Any) -> Any:
    """Settings (nested, JSON-ready) in which every path has become its last part."""
    if isinstance(settings, Mapping):
        return {key: value if key == "about" else without_places(value) for key, value in settings.items()}
    if isinstance(settings, list):
        return [without_places(value) for value in settings]
    if isinstance(settings, str) and "/" in settings:
        kind, colon, place = settings.partition(":")
        if colon and "/" not in kind:
            return f"{kind}:{place.rstrip('/').rpartition('/')[2]}"
        return settings.rstrip("/").rpartition("/")[2]
    return settings


def render_card(card: Mapping[str, Any]) -> str:
    """The card as Markdown. Names of classes, files and data are text in it, whatever they hold: no HTML, no links, no
    further lines."""
    kind = card["kind"]
    check = card["check"]
    lines = [
        f"# {_text(card['file'])}",
        "",
        f"A {'segmentation network' if kind == 'segmenter' else 'multi-label classifier with class maps'} made by"
        " recam, as ONNX.",
        "",
        f"- Network: {_text(', '.join(f'{key} {value}' for key, value in card['network'].items()))}",
        f"- Data: {_text(card['data']['location'])}" + _count(card["data"]["training_images"], ", {} training images"),
        f"- Learned from: {_text(card['supervision']['labels'])}",
        *(f"- {_text(note)}" for note in card["supervision"]["notes"]),
        f"- SHA-256: `{card['sha256']}` ({card['bytes'] / 1e6:.1f} MB)",
        f"- Against PyTorch: differs by at most {check['max_difference']:.1e} at {len(check['cases'])} batches and"
        " sizes "
        f"(allowed: {check['tolerance']:g} of the largest output)",
        "",
        "## Classes",
        "",
        *(
            [f"0 background, then {_numbered(card['classes'])}."]
            if kind == "segmenter"
            else [f"{_numbered(card['classes'], 0)}."]
        ),
        "",
        "## Scores",
        "",
        *(_score_lines(card["scores"]) or ["Not scored: the run had no true masks."]),
        "",
        "## Use",
        "",
        "```sh",
        "recam predict --onnx FOLDER photos -o out",
        "```",
        "",
        *(f"- Input `{name}`: {told}" for name, told in card["inputs"].items()),
        f"- mean {card['mean']}, std {card['std']}",
        *(f"- Output `{name}`: {told}" for name, told in card["outputs"].items()),
        *([f"- Threshold of the maps: {_thresholds(card)}"] if "threshold" in card else []),
        "",
        "## Made by",
        "",
        f"{_fence(card['command'])}sh",
        card["command"],
        _fence(card["command"]),
        "",
        f"Packages: {_text(', '.join(f'{name} {version}' for name, version in card['run']['packages'].items()))}. All"
        " settings are in "
        f"`{card['kind']}.json`.",
        "",
        "## Licence",
        "",
        *(f"- {_text(note)}" for note in card["licence"]),
        "",
    ]
    return "\n".join(lines)


def _licences(data: str, weights: str) -> Iterator[str]:
    yield "recam is MIT-licensed. That covers the code, not what a network learned from."
    yield _DATA_LICENCES.get(
        data, "The training photos are the run's owner's own: whoever shares the network answers for them."
    )
    if weights != "none":
        yield f"Training started from pretrained weights ({weights}); those from ImageNet carry its terms, which are for research."


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping) and key != "options":
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _as_toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_as_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_as_toml(inner) for inner in value) + "]"
    return value if isinstance(value, str) and value.isidentifier() else json.dumps(value, ensure_ascii=False)


def _text(value: object) -> str:
    """As text in Markdown: what would start HTML, a link, code, emphasis or a table is escaped, white space of any kind
    is one space."""
    marked = re.sub(r"([\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", " ".join(str(value).split()))
    return marked.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _fence(content: str) -> str:
    """Backticks around a block of code, more than any row of them in it."""
    return "`" * max(3, 1 + max(map(len, re.findall("`+", content)), default=0))


def _numbered(names: list[str], start: int = 1) -> str:
    return ", ".join(f"{number} {_text(name)}" for number, name in enumerate(names, start=start))


def _thresholds(card: Mapping[str, Any]) -> str:
    own = [f"{_text(name)} {threshold:.2f}" for name, threshold in card["class_thresholds"].items()]
    return f"{card['threshold']:.2f}" + (f"; of single classes {', '.join(own)}" if own else "")


def _count(number: int | None, told: str) -> str:
    return "" if number is None else told.format(number)


def _score_lines(found: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, one in found.items():
        title = _text(name)
        lines.append(
            f"- {title} ({one['images']}): {100 * one['miou']:.2f} mIoU"
            if one.get("miou") is not None
            else f"- {title}: none"
        )
        ious = {each: value for each, value in (one.get("iou") or {}).items() if value is not None}
        if ious:
            lines.append("  - IoU: " + ", ".join(f"{_text(each)} {100 * value:.1f}" for each, value in ious.items()))
        # Runs scored by an earlier version tell of none.
        errors = {each: value for each, value in (one.get("errors") or {}).items() if value is not None}
        if errors:
            lines.append(
                "  - Pixels, %: "
                + ", ".join(f"{ERROR_NAMES[each]} {100 * value:.1f}" for each, value in errors.items())
            )
    return lines
