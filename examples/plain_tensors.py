"""ReCAM in a training loop of your own: any network that gives feature maps (B, D, h, w) will do.

Train a multi-label classifier (CAM's loss), then with ReCAM's loss, then extract maps with each of the four weightings.
Runs in seconds on a CPU: ``python examples/plain_tensors.py``
"""

import torch
from torch import Tensor, nn

from recam.methods import cam, recam

CLASSES = ("red", "green", "blue")
SIZE = (64, 96)


def random_batch(images: int = 8) -> tuple[Tensor, Tensor]:
    """Noise with a square of each present colour: pictures (B, 3, H, W) and labels (B, K). Stands for your data."""
    pictures, labels = 0.5 * torch.rand(images, 3, *SIZE), (torch.rand(images, len(CLASSES)) < 0.5).float()
    for image, colour in labels.nonzero().tolist():
        top, left = (int(torch.randint(side - 32, ())) for side in SIZE)
        pictures[image, colour, top : top + 32, left : left + 32] += 1
    return pictures, labels


def main(steps: int = 60) -> dict[str, Tensor]:
    """Train on random pictures; return the class maps (K, H/4, W/4) of one picture by weighting."""
    torch.manual_seed(0)
    # Your network, up to its feature map, and two bias-free classifiers on it: linear layers or 1×1 convolutions.
    network = nn.Sequential(nn.Conv2d(3, 16, 3, 4, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 4, 1), nn.ReLU())
    fc1, fc2 = nn.Conv2d(32, len(CLASSES), 1, bias=False), nn.Linear(32, len(CLASSES), bias=False)
    optimizer = torch.optim.Adam([*network.parameters(), *fc1.parameters(), *fc2.parameters()], lr=3e-3)

    for step in range(2 * steps):
        images, labels = random_batch()
        features = network(images)  # (B, D, h, w)
        if step < steps:
            loss = cam.bce_loss(cam.classify(features, fc1.weight), labels)
        else:
            loss = recam.reactivation_loss(features, fc1.weight, fc2.weight, labels, pooling="area").total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            print(f"step {step:3}: {'BCE' if step < steps else 'BCE + SCE'} {loss.item():.3f}")

    picture = random_batch(1)[0]
    cams = {}
    with torch.no_grad():
        # (2, D, h, w): picture and its horizontal flip, at one scale
        views = [network(torch.cat([picture, picture.flip(-1)]))]
        for weighting in recam.WEIGHTINGS:
            weight = recam.combine_weights(fc1.weight, fc2.weight, weighting)
            cams[weighting] = cam.make_cams(views, weight, range(len(CLASSES)), SIZE)
    return cams


if __name__ == "__main__":
    for name, maps in main().items():
        print(f"{name}: maps {tuple(maps.shape)}, mean {maps.mean():.3f}")
