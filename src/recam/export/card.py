"""The card of an exported network: what it learned from, its scores, how it was made and how it is applied.

What a card describes comes from the labels and records of the run, so it knows no training, no refiner and no stage by
name. It names the data that a network comes from, never where they lie: of every path only the last part is written.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from recam.data.image_check import describe_range
from recam.data.reading import PLAIN, Reading
from recam.evaluation.metrics import ERROR_NAMES
from recam.inference.run_models import RunModels
from recam.recipe.recipe import load_recipe
from recam.recipe.toml import write_toml
from recam.runfolder.kinds import MAP_SCORES, MAPS, PREDICTIONS
from recam.runfolder.supervision import EXTERNAL, TRUTH

OUTPUTS = {
    "segmenter": {
        "logits": "float32 (batch, K + 1, height, width): background first; softmax over axis 1 gives probabilities"
    },
    "segmenter without background": {
        "logits": "float32 (batch, K, height, width): the classes; softmax over axis 1 gives probabilities"
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


def describe_model(models: RunModels, kind: str, reading: Reading = PLAIN) -> dict[str, Any]:
    """The part of a card that the run decides; JSON-ready.

    Args:
        models: a run's trainings.
        kind: ``segmenter`` or ``classifier``.
        reading: how the images that it learned from were read.
    """
    stage = models.segmenter if kind == "segmenter" else models.classifier
    assert stage is not None
    record, settings = models.records[stage.name], without_places(models.settings["recipe"])
    location, weights = str(settings["data"]["location"]), without_places(record["label"].get("pretrained", "none"))
    return {
        "kind": kind,
        "network": {**record["label"].get("network", {}), "weights": weights},
        "inputs": _describe_inputs(reading),
        "outputs": OUTPUTS[kind if models.background or kind != "segmenter" else f"{kind} without background"],
        "data": {"location": location, "training_images": record["results"].get("images")},
        "supervision": supervision(models, stage.name),
        "scores": scores(models, stage.name),
        "run": {"stage": stage.name, "key": stage.key, "packages": models.settings.get("packages", {})},
        "command": shlex.join(["recam", "run", "--data", location, "--recipe", "recipe.toml", "-o", "run"]),
        "recipe": write_recipe(settings),
        "settings": settings,
        "licence": list(_licences(location.partition(":")[0], weights, str(record["label"].get("licence", "")))),
    }


def _describe_inputs(reading: Reading) -> dict[str, str]:
    """What the network takes, by name."""
    bands = f"bands {', '.join(map(str, reading.bands))} of the files" if reading.bands else "RGB"
    return {
        "images": f"float32 (batch, {reading.channels}, height, width): {bands} in [0, 1], minus mean, over std; any"
        " batch, height and width"
    }


def supervision(models: RunModels, stage: str) -> dict[str, Any]:
    """What the network of a stage learned from beside the images, and where true masks had an influence."""
    used = models.records[stage].get("supervision") or []
    if TRUTH in used:
        return {"labels": TRUTH, "notes": ["An upper bound: it learned from true masks."]}
    notes = []
    if EXTERNAL in used:
        notes.append("The class maps are external (precomputed); what they learned from is not known here.")
    for name in models.of_kind("masks"):
        if name in models.upstream(stage):
            notes.append(f"It learned from pseudo masks, made of {models.records[name]['label'].get('from')}.")
        if models.records[name]["results"]["threshold_from"] == "oracle":
            notes.append(
                "The threshold of the pseudo masks is the one that scores best on true masks of training images"
                " (oracle)."
            )
    return {"labels": " and ".join(used), "notes": notes}


def scores(models: RunModels, stage: str) -> dict[str, Any]:
    """Scores of what the network of a stage makes, in [0, 1], by what was scored; empty where there are no true masks.

    These are the held-out predictions of a segmentation model, or the class maps of a classifier.
    """
    found: dict[str, Any] = {}
    for name in models.of_kind(PREDICTIONS):
        if stage in _inputs(models, name):
            results = models.records[name]["results"]
            found["held-out images"] = {"images": results["images"], **results["scores"]}
    for name in models.of_kind(MAP_SCORES):
        if any(stage in _inputs(models, maps) for maps in models.of_kind(MAPS) if maps in _inputs(models, name)):
            results = models.records[name]["results"]
            titles = {each["name"]: each["title"] for each in models.records[name]["label"]["sets"]}
            for maps, judged in results["maps"].items():
                title = f"class maps ({titles.get(maps, maps)}), oracle threshold"
                found[title] = {"images": results["images"], **(judged["oracle"] or {})}
    return found


def write_recipe(settings: Mapping[str, Any]) -> str:
    """TOML of a recipe that has these settings: those that differ from the defaults, without the place of the data."""
    own = _differing(settings, load_recipe({}).as_dict())
    own["data"] = {name: value for name, value in own.get("data", {}).items() if name != "location"}
    return write_toml({name: value for name, value in own.items() if value != {}})


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
        f"- Supervision: {_text(card['supervision']['labels'])}",
        *(f"- {_text(note)}" for note in card["supervision"]["notes"]),
        f"- SHA-256: `{card['sha256']}` ({card['bytes'] / 1e6:.1f} MB)",
        f"- Against PyTorch: differs by at most {check['max_difference']:.1e} at {len(check['cases'])} batches and"
        f" sizes (allowed: {check['tolerance']:g} of the largest output)",
        "",
        "## Classes",
        "",
        *(
            [f"0 background, then {_numbered(card['classes'])}."]
            if kind == "segmenter" and card.get("background", True)
            else [f"{_numbered(card['classes'])}, by mask value; there is no background."]
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
        *(f"- Input `{name}`: {described}" for name, described in card["inputs"].items()),
        f"- mean {card['mean']}, std {card['std']}",
        *_reading_lines(card.get("reading", {})),
        *(f"- Output `{name}`: {described}" for name, described in card["outputs"].items()),
        *([f"- Threshold of the maps: {_thresholds(card)}"] if "threshold" in card else []),
        "",
        "## Made by",
        "",
        f"{_fence(card['command'])}sh",
        card["command"],
        _fence(card["command"]),
        "",
        "with this `recipe.toml`:",
        "",
        f"{_fence(card['recipe'])}toml",
        card["recipe"].rstrip("\n"),
        _fence(card["recipe"]),
        "",
        f"Packages: {_text(', '.join(f'{name} {version}' for name, version in card['run']['packages'].items()))}. All"
        f" settings are in `{card['kind']}.json`.",
        "",
        "## Licence",
        "",
        *(f"- {_text(note)}" for note in card["licence"]),
        "",
    ]
    return "\n".join(lines)


def _reading_lines(reading: Mapping[str, Any]) -> list[str]:
    """How files become what the network takes, where that is not as a viewer shows them."""
    lines = []
    if ranges := reading.get("value_range"):
        lines.append(
            f"- Files of more than 8 bits: values {describe_range(ranges)} become 0 to 1, what lies outside is cut off"
        )
    if page := reading.get("page"):
        lines.append(f"- Of files with several pages: page {page}")
    return lines


def _inputs(models: RunModels, stage: str) -> Mapping[str, str]:
    inputs: Mapping[str, str] = models.records[stage].get("inputs", {}).get("inputs", {})
    return inputs


def _differing(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that are not the defaults, nested; a data set's or a model's `options` stay whole."""
    own = {}
    for name, value in settings.items():
        before = defaults.get(name)
        if value != before:
            both = isinstance(value, Mapping) and isinstance(before, Mapping) and name != "options"
            own[name] = _differing(value, before) if both and before is not None else value
    return own


def _licences(data: str, weights: str, terms: str) -> Iterator[str]:
    yield "recam is MIT-licensed. That covers the code, not what a network learned from."
    yield _DATA_LICENCES.get(
        data, "The training photos are the run's owner's own: whoever shares the network answers for them."
    )
    if weights != "none":
        yield (
            f"Training started from pretrained weights ({weights}); those from ImageNet carry its terms, which are for"
            " research."
        )
    if terms:
        yield f"Licence of those weights, by timm's record: {terms}."


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
    if not card.get("background", True):
        return "none, the largest map counts"
    own = [f"{_text(name)} {threshold:.2f}" for name, threshold in card["class_thresholds"].items()]
    return f"{card['threshold']:.2f}" + (f"; of single classes {', '.join(own)}" if own else "")


def _count(number: int | None, text: str) -> str:
    return "" if number is None else text.format(number)


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
        # Runs scored by an earlier version have none.
        errors = {each: value for each, value in (one.get("errors") or {}).items() if value is not None}
        if errors:
            lines.append(
                "  - Pixels, %: "
                + ", ".join(f"{ERROR_NAMES[each]} {100 * value:.1f}" for each, value in errors.items())
            )
    return lines
