"""Oracle visual tokens: what a perfect eye would hand to the decoder.

The code of a patch is a sum of fixed orthonormal directions: object or background, colour, shape, size, texture,
position features of the object's centre and of the patch, and a mark on the patch that holds the centre. Because
the code is fixed, decoder (on oracle tokens) and vision tower (whose projector regresses the code) train apart.
"""

import math

import torch

HIDDEN = 128
COLORS, SHAPES, SIZES, TEXTURES = 8, 18, 3, 2
PLAIN_SHAPES = 8  # the rest of the shapes are the digits 0 to 9
FREQUENCIES = (math.pi / 2, math.pi, 2 * math.pi)
# Lengths of the directions. An object patch has about unit RMS over the 128 dimensions.
FLAG, BARE, COLOR, SHAPE, SIZE, TEXTURE, ANCHOR = 3.0, 5.0, 5.0, 5.0, 3.5, 3.5, 4.0
CENTRE_LINEAR, CENTRE_WAVE, PATCH_LINEAR, PATCH_WAVE = 6.0, 1.2, 3.0, 1.2


def position_features(xy: torch.Tensor, linear: float, wave: float) -> torch.Tensor:
    """(..., 2) in -1..1 -> (..., 14): the coordinates and their sines and cosines."""
    parts = [xy * linear]
    for frequency in FREQUENCIES:
        parts += [torch.sin(xy * frequency) * wave, torch.cos(xy * frequency) * wave]
    return torch.cat(parts, dim=-1)


class Oracle:
    """The code book. codes() turns attribute arrays into the (B, P, 128) tokens of whole pictures."""

    def __init__(self, grid: int = 24):
        generator = torch.Generator().manual_seed(20)
        basis = torch.linalg.qr(torch.randn(HIDDEN, HIDDEN, generator=generator))[0]
        used = 0

        def take(n, length=1.0):
            nonlocal used
            used += n
            return basis[used - n : used] * length

        self.bare = take(1, BARE)[0]
        self.flag = take(1, FLAG)[0]
        self.anchor = take(1, ANCHOR)[0]
        self.tables = [take(COLORS, COLOR), take(PLAIN_SHAPES, SHAPE), take(SIZES, SIZE), take(TEXTURES, TEXTURE)]
        self.centre_basis, self.patch_basis = take(14), take(14)
        # The digits come last, so that the other directions are what they were before there were digits.
        self.tables[1] = torch.cat([self.tables[1], take(SHAPES - PLAIN_SHAPES, SHAPE)])
        axis = (torch.arange(grid) + 0.5) / grid * 2 - 1
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        self.patch_xy = torch.stack([x, y], dim=-1).reshape(-1, 2)
        self.patch_codes = position_features(self.patch_xy, PATCH_LINEAR, PATCH_WAVE) @ self.patch_basis

    def object_codes(self, attributes: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
        """(B, M, 4), (B, M, 2) -> (B, M, 128)."""
        code = position_features(centres, CENTRE_LINEAR, CENTRE_WAVE) @ self.centre_basis + self.flag
        for i, table in enumerate(self.tables):
            code = code + table[attributes[..., i]]
        return code

    def codes(self, attributes, centres, owner, anchors, patches=None) -> torch.Tensor:
        """Tokens of all patches; ambiguous patches count as background. patches: (B, P) positions in the full grid."""
        objects = self.object_codes(attributes, centres)
        batch, count = owner.shape
        inside = owner < objects.shape[1]
        index = owner.clamp(max=objects.shape[1] - 1)
        code = objects.gather(1, index[..., None].expand(-1, -1, HIDDEN))
        code = torch.where(inside[..., None], code, self.bare)
        code = code + (self.patch_codes if patches is None else self.patch_codes[patches])
        marks = torch.zeros(batch, count)
        scene, thing = torch.nonzero(anchors >= 0, as_tuple=True)
        marks[scene, anchors[scene, thing]] = 1.0
        return code + marks[..., None] * self.anchor
