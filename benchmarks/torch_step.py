"""The same networks and the same step in PyTorch, bfloat16, channels last: run by `benchmarks.training` in an
environment that has PyTorch. `python torch_step.py NETWORK SIDE BATCH STEPS` prints seconds per step, one a line.
"""

import sys
import time

import torch
from torch import Tensor, nn
from torch.nn import functional


class FastCnn(nn.Module):
    """models.networks.airbench, with ReLU."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.whitening = nn.Conv2d(3, 24, 2)
        self.whitening.requires_grad_(False)
        layers: list[nn.Module] = []
        before = 24
        for width in (64, 256, 256):
            layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.MaxPool2d(2)]
            layers += [nn.BatchNorm2d(width, eps=1e-12, momentum=0.4), nn.ReLU()]
            layers += [nn.Conv2d(width, width, 3, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(width, eps=1e-12, momentum=0.4), nn.ReLU()]
            before = width
        self.blocks = nn.Sequential(*layers, nn.MaxPool2d(3), nn.Flatten())
        self.head = nn.Linear(before, num_classes, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.blocks(functional.relu(self.whitening(images)))) / 9


class BasicBlock(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(before, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or before != width:
            self.shortcut = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.main(x) + self.shortcut(x))


class ResNet18(nn.Module):
    """models.networks.resnet, with the paper's stem."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
        layers.append(nn.MaxPool2d(3, 2, 1))
        before = 64
        for stage, width in enumerate((64, 128, 256, 512)):
            for block in range(2):
                layers.append(BasicBlock(before, width, 2 if stage > 0 and block == 0 else 1))
                before = width
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, num_classes))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


NETWORKS = {"fast_cnn_relu": (FastCnn, 10), "resnet18": (ResNet18, 1000)}


def main(network: str, side: int, batch_size: int, num_steps: int) -> None:
    kind, num_classes = NETWORKS[network]
    model = kind(num_classes).to(memory_format=torch.channels_last).train()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=1e-3, momentum=0.9, nesterov=True, weight_decay=5e-4)
    images = torch.randint(0, 256, (batch_size, 3, side, side), dtype=torch.uint8)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(0, num_classes, (batch_size,))
    for step in range(num_steps + 3):
        started_s = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(images.float() / 127.5 - 1)
        loss = functional.cross_entropy(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        loss.item()
        if step >= 3:
            print(time.perf_counter() - started_s, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
