"""ResNet-20 and ResNet-56 against the same networks in PyTorch's layers, and a published one for CIFAR-10."""

import jax
import numpy as np
import pytest

import fcn
from fcn.encoders.entry import IMAGENET_MEAN, IMAGENET_STD
from fcn.encoders.resnet_cifar import RESNETS_CIFAR
from tests.parity.encoders import assert_encoder_equal, assert_gradients_equal, assert_tensors_equal
from tests.parity.reference import assert_close, random_like, torch
from tests.variables import count_parameters

nn, F = torch.nn, torch.nn.functional


class Block(nn.Module):
    def __init__(self, before, after):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, after // before, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if y.shape[1] > x.shape[1]:
            zeros = torch.zeros_like(y[:, : y.shape[1] // 4])
            x = torch.cat([zeros, x[:, :, ::2, ::2], zeros], dim=1)
        return F.relu(x + y)


class Net(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        for i, (before, after) in enumerate(((16, 16), (16, 32), (32, 64)), start=1):
            setattr(self, f"layer{i}", nn.Sequential(Block(before, after), *(Block(after, after) for _ in range(blocks - 1))))
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        found = []
        for layer in (self.layer1, self.layer2, self.layer3):
            x = layer(x)
            found.append(x)
        return found


def maps(net, x):
    return net(x)


def test_maps():
    assert_encoder_equal("resnet20_cifar", Net(3), source="cifar", maps=maps, sizes=[(24, 40), (33, 47)])


@pytest.mark.parametrize(("name", "blocks"), [("resnet20_cifar", 3), ("resnet56_cifar", 9)])
def test_tensors(name, blocks):
    net = Net(blocks)
    net.linear = nn.Identity()
    assert_tensors_equal(name, net, source="cifar")


def test_training():
    assert_gradients_equal("resnet20_cifar", Net(3), source="cifar", maps=maps, size=(32, 32))


def test_round_trip():
    net = Net(3)
    state = random_like(net.state_dict())
    model = fcn.create_classifier("resnet20_cifar", num_classes=10)
    net.load_state_dict(fcn.to_torch(model, fcn.from_torch(model, state, source="cifar"), source="cifar"), strict=True)
    assert all(torch.equal(net.state_dict()[key], tensor) for key, tensor in state.items())


@pytest.mark.parametrize(("name", "count"), [("resnet20_cifar", 269_722), ("resnet56_cifar", 853_018)])
def test_parameters(name, count):
    """0.27 M and 0.85 M in table 6 of the paper, with the dense layer to ten classes."""
    assert count_parameters(fcn.create_classifier(name, num_classes=10), 1, 32, 32, 3) == count
    assert count_parameters(fcn.create_encoder(name), 1, 32, 32, 3) == RESNETS_CIFAR[name].parameters == count - 650


def test_a_published_network_for_cifar10(shared_data):
    """Its logits are the original's; 34 of the 40 images are recognised there."""
    folder = shared_data / "weights" / "resnet20_cifar10"
    expected = np.load(folder / "reference.npz")
    model = fcn.create_classifier("resnet20_cifar", num_classes=10)
    variables = fcn.from_torch(model, folder / "resnet20-12fca82f.th", source="cifar")
    x = (expected["images_uint8_nhwc"] / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    logits = jax.jit(model.apply)(variables, x.astype(np.float32))
    assert_close(logits, expected["logits"])
    assert (np.argmax(logits, axis=-1) == expected["labels"]).sum() == 34
