"""PyTorch networks that no package offers, as a user would write them; channels of inputs are found at the first call."""

from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

Conv, Up, Norm = partial(nn.LazyConv2d, bias=False), nn.LazyConvTranspose2d, nn.LazyBatchNorm2d


def conv_norm_relu(features: int, kernel: int = 3, **options) -> nn.Sequential:
    """A convolution that keeps the size, BatchNorm and ReLU."""
    return nn.Sequential(Conv(features, kernel, padding=kernel // 2, **options), Norm(), nn.ReLU(inplace=True))


def two_convolutions(features: int) -> nn.Sequential:
    """A level of U-Net."""
    return nn.Sequential(conv_norm_relu(features), conv_norm_relu(features))


class UNet(nn.Module):
    """U-Net with BatchNorm; with `gated`, Attention U-Net."""

    def __init__(self, classes: int, base: int = 64, depth: int = 4, gated: bool = False):
        super().__init__()
        widths = [base * 2**level for level in range(depth)]
        self.encoder = nn.ModuleList(two_convolutions(width) for width in (*widths, base * 2**depth))
        self.up = nn.ModuleList(Up(width, 2, 2) for width in widths)
        self.decoder = nn.ModuleList(two_convolutions(width) for width in widths)
        self.gates = nn.ModuleList(Gate(width // 2) for width in widths[1:]) if gated else None
        self.head = nn.LazyConv2d(classes, 1)

    def forward(self, x):
        skips = []
        for encode in self.encoder[:-1]:
            skips.append(encode(x))
            x = F.max_pool2d(skips[-1], 2)
        x = self.encoder[-1](x)
        for level in reversed(range(len(skips))):
            skip = self.gates[level - 1](skips[level], x) if self.gates and level else skips[level]
            x = self.decoder[level](torch.cat([skip, self.up[level](x)], 1))
        return self.head(x)


class Gate(nn.Module):
    """The attention gate of Oktay et al. (2018), figure 2."""

    def __init__(self, features: int):
        super().__init__()
        self.x, self.g, self.psi = Conv(features, 2, 2), nn.LazyConv2d(features, 1), nn.LazyConv2d(1, 1)

    def forward(self, x, g):
        coefficients = torch.sigmoid(self.psi(F.relu(self.x(x) + self.g(g))))
        return x * F.interpolate(coefficients, size=x.shape[2:], mode="bilinear")


class UNet2015(nn.Module):
    """U-Net of 2015: valid convolutions, cropped skips."""

    def __init__(self, classes: int, base: int = 64, depth: int = 4):
        super().__init__()

        def level(features):
            return nn.Sequential(nn.LazyConv2d(features, 3), nn.ReLU(True), nn.LazyConv2d(features, 3), nn.ReLU(True))

        widths = [base * 2**level for level in range(depth)]
        self.encoder = nn.ModuleList(level(width) for width in (*widths, base * 2**depth))
        self.up = nn.ModuleList(Up(width, 2, 2) for width in widths)
        self.decoder = nn.ModuleList(level(width) for width in widths)
        self.head = nn.LazyConv2d(classes, 1)

    def forward(self, x):
        skips = []
        for level, encode in enumerate(self.encoder):
            x = encode(F.max_pool2d(x, 2) if level else x)
            if level >= len(self.up) - 1:
                x = F.dropout(x, 0.5, self.training)
            skips.append(x)
        for level in reversed(range(len(self.up))):
            up = self.up[level](x)
            x = self.decoder[level](torch.cat([centre(skips[level], up), up], 1))
        return self.head(x)


def centre(x, like):
    """The middle of x, as large as another map."""
    top, left = ((old - new) // 2 for old, new in zip(x.shape[2:], like.shape[2:]))
    return x[:, :, top : top + like.shape[2], left : left + like.shape[3]]


class FCNVGG16(nn.Module):
    """FCN-32s, 16s or 8s: an image padded by 100, upsampling by transposed convolutions as large as the paper's."""

    def __init__(self, classes: int, name: str):
        super().__init__()
        widths, counts = (64, 128, 256, 512, 512), (2, 2, 3, 3, 3)
        self.stages = nn.ModuleList()
        for width, count in zip(widths, counts):
            layers = [nn.LazyConv2d(width, 3, padding=1 if width > 64 or i else 100) for i in range(count)]
            self.stages.append(nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU(True)))))
        self.fc6, self.fc7 = nn.LazyConv2d(4096, 7), nn.LazyConv2d(4096, 1)
        levels = {"fcn32s": 1, "fcn16s": 2, "fcn8s": 3}[name]
        self.scores = nn.ModuleList(nn.LazyConv2d(classes, 1) for _ in range(levels))
        last = 64 // 2**levels
        sizes = [(4, 2)] * (levels - 1) + [(2 * last, last)]
        self.ups = nn.ModuleList(Up(classes, kernel, stride, bias=False) for kernel, stride in sizes)

    def forward(self, images):
        x, maps = images, []
        for stage in self.stages:
            x = F.max_pool2d(stage(x), 2, 2, ceil_mode=True)
            maps.append(x)
        x = F.dropout2d(F.relu(self.fc6(x)), 0.5, self.training)
        x = F.dropout2d(F.relu(self.fc7(x)), 0.5, self.training)
        x = self.scores[0](x)
        for score, up, skip, offset in zip(self.scores[1:], self.ups, (maps[3], maps[2]), (5, 9)):
            x = up(x)
            x = x + score(skip)[:, :, offset : offset + x.shape[2], offset : offset + x.shape[3]]
        margin = {1: 19, 2: 27, 3: 31}[len(self.ups)]
        height, width = images.shape[2:]
        return self.ups[-1](x)[:, :, margin : margin + height, margin : margin + width]


class SegNet(nn.Module):
    """SegNet on VGG16: the decoder puts values where the encoder's maxima were."""

    def __init__(self, classes: int):
        super().__init__()
        widths, counts = (64, 128, 256, 512, 512), (2, 2, 3, 3, 3)

        def stack(features):
            return nn.Sequential(*(conv_norm_relu(f, bias=True) for f in features))

        self.encoder = nn.ModuleList(stack([width] * count) for width, count in zip(widths, counts))
        below = (64, *widths[:-1])
        self.decoder = nn.ModuleList(
            stack([width] * (count - 1) + [last] * (i > 0)) for i, (width, count, last) in enumerate(zip(widths, counts, below))
        )
        self.head = nn.LazyConv2d(classes, 3, padding=1)

    def forward(self, x):
        pooled = []
        for encode in self.encoder:
            x = encode(x)
            size = x.shape[2:]
            x, places = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
            pooled.append((places, size))
        for decode, (places, size) in zip(reversed(self.decoder), reversed(pooled)):
            x = decode(F.max_unpool2d(x, places, (2, 2), output_size=size))
        return self.head(x)


class FCDenseNet(nn.Module):
    """The One Hundred Layers Tiramisu."""

    def __init__(self, classes: int, layers: tuple[int, ...], growth: int):
        super().__init__()
        depth = len(layers) // 2

        def block(count):
            return nn.ModuleList(self.layer(growth, 3) for _ in range(count))

        self.stem = nn.LazyConv2d(48, 3, padding=1)
        self.blocks = nn.ModuleList(block(count) for count in layers)
        widths = [48 + growth * sum(layers[: i + 1]) for i in range(depth)]
        self.down = nn.ModuleList(self.layer(width, 1) for width in widths)
        self.up = nn.ModuleList(Up(growth * layers[depth + i], 3, 2) for i in range(depth))
        self.head = nn.LazyConv2d(classes, 1)

    @staticmethod
    def layer(features, kernel):
        conv = nn.LazyConv2d(features, kernel, padding=kernel // 2)
        return nn.Sequential(Norm(), nn.ReLU(True), conv, nn.Dropout(0.2))

    def forward(self, x):
        x, new, skips, depth = self.stem(x), None, [], len(self.down)
        for i, block in enumerate(self.blocks):
            if i > depth:
                skip = skips.pop()
                x = torch.cat([centre(self.up[i - depth - 1](new), skip), skip], 1)
            x, new = self.grow(block, x)
            if i < depth:
                skips.append(x)
                x = F.max_pool2d(self.down[i](x), 2)
        return self.head(x)

    @staticmethod
    def grow(block, x):
        start = x.shape[1]
        for layer in block:
            x = torch.cat([x, layer(x)], 1)
        return x, x[:, start:]


class ESPNet(nn.Module):
    """ESPNet; with `decoded` off, its encoder alone."""

    def __init__(self, classes: int, p: int = 2, q: int = 8, decoded: bool = True):
        super().__init__()
        self.first = nn.Sequential(Conv(16, 3, 2, 1), NormPReLU())
        self.b1, self.b2, self.b3 = NormPReLU(), NormPReLU(), NormPReLU()
        self.down2, self.down3 = ESP(64, 2), ESP(128, 2)
        self.level2 = nn.Sequential(*(ESP(64) for _ in range(p)))
        self.level3 = nn.Sequential(*(ESP(128) for _ in range(q)))
        self.classifier, self.decoded = Conv(classes, 1), decoded
        if decoded:
            self.br, self.up3, self.level3_c = Norm(), Up(classes, 2, 2, bias=False), Conv(classes, 1)
            self.combine = nn.Sequential(NormPReLU(), ESP(classes, residual=False))
            self.up2 = nn.Sequential(Up(classes, 2, 2, bias=False), NormPReLU())
            self.last = nn.Sequential(Conv(classes, 3, 1, 1), NormPReLU(), Up(classes, 2, 2, bias=False))

    def forward(self, x):
        half = F.avg_pool2d(x, 3, 2, 1)
        quarter = F.avg_pool2d(half, 3, 2, 1)
        level1 = self.b1(torch.cat([self.first(x), half], 1))
        start = self.down2(level1)
        level2 = self.b2(torch.cat([self.level2(start), start, quarter], 1))
        start = self.down3(level2)
        x = self.classifier(self.b3(torch.cat([start, self.level3(start)], 1)))
        if not self.decoded:
            return F.interpolate(x, scale_factor=8, mode="bilinear")
        x = self.combine(torch.cat([self.level3_c(level2), self.up3(self.br(x))], 1))
        return self.last(torch.cat([self.up2(x), level1], 1))


class NormPReLU(nn.Sequential):
    """BatchNorm and PReLU with a slope for each channel."""

    def __init__(self):
        super().__init__(Norm())

    def forward(self, x):
        x = self[0](x)
        if len(self) == 1:
            self.append(nn.PReLU(x.shape[1]))
        return self[1](x)


class ESP(nn.Module):
    """An efficient spatial pyramid: reduce, split into dilated convolutions, add up, concatenate."""

    def __init__(self, features: int, stride: int = 1, residual: bool = True):
        super().__init__()
        self.residual = residual and stride == 1
        part = features // 5
        self.reduce = Conv(part, 1) if stride == 1 else Conv(part, 3, stride, 1)
        widths = [features - 4 * part] + [part] * 4
        self.branches = nn.ModuleList(Conv(w, 3, 1, d, d) for w, d in zip(widths, (1, 2, 4, 8, 16)))
        self.act = NormPReLU()

    def forward(self, x):
        y = self.reduce(x)
        first, *others = (branch(y) for branch in self.branches)
        for i in range(1, len(others)):
            others[i] = others[i] + others[i - 1]
        y = torch.cat([first, *others], 1)
        return self.act(x + y if self.residual else y)


class ResNetCIFAR(nn.Module):
    """The ResNets for CIFAR-10: three maps."""

    def __init__(self, layers: int):
        super().__init__()
        self.stem = conv_norm_relu(16)
        count = (layers - 2) // 6
        self.stages = nn.ModuleList(
            nn.Sequential(*(self.Block(width, 2 if i == 0 and width > 16 else 1) for i in range(count)))
            for width in (16, 32, 64)
        )

    class Block(nn.Module):
        """Two convolutions; a shortcut without parameters."""

        def __init__(self, width, stride):
            super().__init__()
            first = conv_norm_relu(width, stride=stride)
            self.stride, self.body = stride, nn.Sequential(first, Conv(width, 3, padding=1), Norm())

        def forward(self, x):
            y = self.body(x)
            if self.stride > 1:
                zeros = y.new_zeros(y.shape[0], y.shape[1] // 4, *y.shape[2:])
                x = torch.cat([zeros, x[:, :, ::2, ::2], zeros], 1)
            return F.relu(x + y)

    def forward(self, x):
        x, maps = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


NETWORKS = {
    "unet": UNet,
    "unet2015": UNet2015,
    "attention_unet": partial(UNet, gated=True),
    "segnet": SegNet,
    "fc_densenet56": partial(FCDenseNet, layers=(4,) * 11, growth=12),
    "fc_densenet67": partial(FCDenseNet, layers=(5,) * 11, growth=16),
    "fc_densenet103": partial(FCDenseNet, layers=(4, 5, 7, 10, 12, 15, 12, 10, 7, 5, 4), growth=16),
    "espnet": ESPNet,
    "espnet_c": partial(ESPNet, decoded=False),
}
