"""The true masks of a folder of photos, found by the names of their images."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from recam.data.catalog import PassedOver, passed_over
from recam.data.file_tree import read_tree, unread_endings
from recam.data.folder_images import stem, writable_files
from recam.data.images import MASK_ENDINGS, MaskFile
from recam.data.mask_folder import OVERLAY
from recam.errors import Problem, printable
from recam.labels import nfc


@dataclass(frozen=True)
class FolderMasks:
    """What a folder of true masks holds.

    Attributes:
        by_id: the mask of each image, by the image's (composed) id.
        problems: files that may be masks and are not used, folders that may not be read.
        passed_over: what else lies there.
    """

    by_id: dict[str, MaskFile]
    problems: list[Problem]
    passed_over: list[PassedOver]


def find_masks(folder: Path, images: Path, ids: Collection[str], table: bytes | None) -> FolderMasks:
    """The masks of these images.

    Args:
        folder: of the masks.
        images: where the images lie, for messages.
        ids: of the images, composed.
        table: (256,) old mask value → new one; None leaves the values as they are.
    """
    tree, problems = writable_files(folder, read_tree(folder))
    found = FolderMasks({}, problems, tree.passed_over())
    unread, overlays = [], []
    stems = {stem(path) for path in tree.files}
    for path in tree.files:
        image_id = nfc(stem(path))
        if image_id.endswith(OVERLAY) and image_id not in ids and stem(path).removesuffix(OVERLAY) in stems:
            overlays.append(path)
        elif not path.lower().endswith(MASK_ENDINGS):
            unread.append(path)
        elif image_id not in ids:
            message = (
                f"is named as no image (looked for {image_id} in {images}). Rename it as its image; it is not used."
            )
            problems.append(Problem("mask-without-image", printable(folder / path), printable(message)))
        elif image_id in found.by_id:
            first = found.by_id[image_id].path.name
            message = f"belongs to the same image as {first}, which is used. Delete one of them."
            problems.append(Problem("duplicate-mask", printable(folder / path), printable(message)))
        else:
            found.by_id[image_id] = MaskFile(folder / path, table)
    for kind in unread_endings((p for p in unread if nfc(stem(p)) in ids), "Save masks as PNG."):
        message = (
            f"holds {kind.count} files that are named as images and are no PNG masks (first: {kind.examples[0]}):"
            f" {kind.why}"
        )
        problems.append(Problem("unread-mask", printable(folder), printable(message)))
    rest = [f"{folder.name}/{path}" for path in unread if nfc(stem(path)) not in ids]
    found.passed_over.extend(unread_endings(rest, "Save masks as PNG to use them."))
    found.passed_over.extend(passed_over("overlay", overlays, "pictures for people beside masks."))
    return found
