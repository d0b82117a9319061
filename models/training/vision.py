"""Vision tower (CLIP layout) and projector, trained with a label for every patch.

Shapes: pictures (B, C, C, 3) u8 -> patches (B, P, 588) -> hidden (B, 1+P, 128), CLS first -> tokens (B, P, 128).
Most steps see windows: small scenes placed at a random offset of the 24x24 position table. Recognition is local and
a window costs a fifth of a whole picture; whole pictures follow because softmax over 577 keys is another softmax.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from training.optim import Meter, Run, make_optimisers
from training.oracle import COLORS, HIDDEN, PLAIN_SHAPES, SHAPES, SIZES, TEXTURES, Oracle
from training.world import AMBIGUOUS, MAX_OBJECTS, PATCH, Dump

HEADS, HEAD_DIM, MLP, BLOCKS, GRID = 4, 32, 512, 4, 24
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])


def matrix(rows: int, columns: int, std: float, blocks: int = 1) -> nn.Parameter:
    """A hidden matrix for Muon, made of `blocks` stacked matrices."""
    parameter = nn.Parameter(torch.randn(rows, columns) * std)
    parameter.muon_blocks = blocks
    return parameter


def sine_table(grid: int = GRID) -> torch.Tensor:
    """2-D sine/cosine start of the position table, 32 frequencies an axis."""
    axis = (torch.arange(grid) + 0.5) / grid * 2 - 1
    frequency = torch.exp(torch.linspace(math.log(math.pi / 2), math.log(10 * math.pi), HIDDEN // 4))
    wave = axis[:, None] * frequency
    line = torch.cat([wave.sin(), wave.cos()], dim=1)
    rows = line[:, None, :].expand(-1, grid, -1)
    columns = line[None, :, :].expand(grid, -1, -1)
    table = torch.cat([rows, columns], dim=2).reshape(grid * grid, HIDDEN)
    return 0.7 * table / math.sqrt(0.5) * 0.7 + 0.02 * torch.randn(grid * grid, HIDDEN)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(HIDDEN, eps=1e-5), nn.LayerNorm(HIDDEN, eps=1e-5)
        self.qkv = matrix(3 * HIDDEN, HIDDEN, 0.06, blocks=3)
        self.qkv_bias = nn.Parameter(torch.zeros(3 * HIDDEN))
        self.out = matrix(HIDDEN, HIDDEN, 0.015)
        self.out_bias = nn.Parameter(torch.zeros(HIDDEN))
        self.fc1 = matrix(MLP, HIDDEN, 0.06)
        self.fc1_bias = nn.Parameter(torch.zeros(MLP))
        self.fc2 = matrix(HIDDEN, MLP, 0.015)
        self.fc2_bias = nn.Parameter(torch.zeros(HIDDEN))

    def forward(self, x):
        batch, length, _ = x.shape
        qkv = F.linear(self.norm1(x), self.qkv, self.qkv_bias)
        q, k, v = qkv.view(batch, length, 3, HEADS, HEAD_DIM).permute(2, 0, 3, 1, 4)
        attention = ((q * HEAD_DIM**-0.5) @ k.transpose(-1, -2)).softmax(dim=-1)
        mixed = (attention @ v).transpose(1, 2).reshape(batch, length, HIDDEN)
        x = x + F.linear(mixed, self.out, self.out_bias)
        # quick_gelu(h) = h·sigmoid(1.702h) = silu(1.702h)/1.702: scaling the weights saves elementwise passes.
        hidden = F.silu(F.linear(self.norm2(x), self.fc1 * 1.702, self.fc1_bias * 1.702))
        return x + F.linear(hidden, self.fc2 / 1.702, self.fc2_bias), attention


class Tower(nn.Module):
    """Patch embedding, position table, four blocks (a fifth of the layout is never run), projector, label heads."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Parameter(torch.randn(HIDDEN, 3 * PATCH * PATCH) * 0.03)
        self.cls = nn.Parameter(torch.randn(HIDDEN) * 0.3)
        self.positions = nn.Parameter(sine_table())
        self.cls_position = nn.Parameter(torch.zeros(HIDDEN))
        self.pre_norm = nn.LayerNorm(HIDDEN, eps=1e-5)
        self.blocks = nn.ModuleList([Block() for _ in range(BLOCKS)])
        self.project1 = matrix(HIDDEN, HIDDEN, 0.09)
        self.project1_bias = nn.Parameter(torch.zeros(HIDDEN))
        self.project2 = matrix(HIDDEN, HIDDEN, 0.09)
        self.project2_bias = nn.Parameter(torch.zeros(HIDDEN))
        # The rest is thrown away after training.
        self.labels = nn.Linear(HIDDEN, COLORS + SHAPES + SIZES + TEXTURES + 2 + 2 + 2)
        self.pooled = nn.ModuleList([nn.Linear(HIDDEN, SHAPES + SIZES) for _ in range(3)])
        self.present = nn.Linear(HIDDEN, COLORS + SHAPES)

    def load_state_dict(self, state, strict=True):
        """Also takes the state of a tower that was trained before there were digits: their rows stay as they are."""
        if len(state["present.bias"]) < COLORS + SHAPES:
            fresh, state = self.state_dict(), dict(state)
            behind = {"labels": COLORS, "present": COLORS} | {f"pooled.{i}": 0 for i in range(len(self.pooled))}
            for name, first in behind.items():
                for part in (".weight", ".bias"):
                    old, end = state[name + part], first + PLAIN_SHAPES
                    digits = fresh[name + part][end : first + SHAPES]
                    state[name + part] = torch.cat([old[:end], digits, old[end:]])
        return super().load_state_dict(state, strict)

    def features(self, patches, positions):
        """(B, P, 588), (B, P) grid positions -> hidden states after every block and their attention."""
        x = F.linear(patches, self.patch) + self.positions[positions]
        cls = (self.cls + self.cls_position).expand(len(x), 1, HIDDEN)
        x = self.pre_norm(torch.cat([cls, x], dim=1))
        states, attentions = [], []
        for block in self.blocks:
            x, attention = block(x)
            states.append(x)
            attentions.append(attention)
        return states, attentions

    def project(self, x):
        return F.linear(F.gelu(F.linear(x, self.project1, self.project1_bias)), self.project2, self.project2_bias)

    def tokens(self, patches, positions):
        return self.project(self.features(patches, positions)[0][-1][:, 1:])


def patchify(pictures: torch.Tensor) -> torch.Tensor:
    """(B, C, C, 3) floats 0..255 -> (B, P, 588) normalised, channel-major as in a convolution's weight."""
    batch, canvas = pictures.shape[:2]
    grid = canvas // PATCH
    x = (pictures / 255 - MEAN) / STD
    x = x.view(batch, grid, PATCH, grid, PATCH, 3).permute(0, 1, 3, 5, 2, 4)
    return x.reshape(batch, grid * grid, 3 * PATCH * PATCH)


class Batch:
    """Augmented pictures of a dump with their labels, at a random window of the full grid if they are smaller."""

    def __init__(self, dump: Dump, index: np.ndarray, random: np.random.Generator, oracle: Oracle, augment=True):
        grid, size = dump.grid, len(index)
        pictures = torch.from_numpy(np.stack([dump.pictures[i] for i in index])).float()
        self.owner = torch.from_numpy(dump.owner[index].astype(np.int64))
        coverage = torch.from_numpy(dump.coverage[index].astype(np.float32) / 255)
        self.attributes = torch.from_numpy(dump.attributes[index])
        centres = torch.from_numpy(dump.centres[index]).clone()
        anchors = torch.from_numpy(dump.anchors[index]).clone()
        if augment:
            gain = torch.from_numpy(random.uniform(0.94, 1.06, (size, 1, 1, 3)).astype(np.float32))
            shift = torch.from_numpy(random.uniform(-15, 15, (size, 1, 1, 3)).astype(np.float32))
            pictures = (pictures * gain + shift).clamp(0, 255)
            # Every shape is its own mirror image, but a digit is not.
            flip = torch.from_numpy(random.random(size) < 0.5) & (self.attributes[..., 1] < PLAIN_SHAPES).all(1)
            if flip.any():
                pictures[flip] = pictures[flip].flip(2)
                for map_ in (self.owner, coverage):
                    map_[flip] = map_[flip].view(-1, grid, grid).flip(2).reshape(-1, grid * grid)
                centres[flip, :, 0] *= -1
                mirrored = anchors // grid * grid + grid - 1 - anchors % grid
                anchors = torch.where(flip[:, None] & (anchors >= 0), mirrored, anchors)
        self.patches = patchify(pictures)
        free = GRID - grid
        top = torch.from_numpy(random.integers(0, free + 1, size))[:, None]
        left = torch.from_numpy(random.integers(0, free + 1, size))[:, None]
        local = torch.arange(grid * grid)[None]
        self.positions = (local // grid + top) * GRID + local % grid + left
        offset = torch.stack([left[:, 0], top[:, 0]], dim=1).float()[:, None]
        self.centres = ((centres + 1) / 2 * grid + offset) / GRID * 2 - 1
        self.anchor = torch.zeros(size, grid * grid)
        scene, thing = torch.nonzero(anchors >= 0, as_tuple=True)
        self.anchor[scene, anchors[scene, thing]] = 1.0
        self.thing = self.owner < MAX_OBJECTS
        self.clear = self.owner != AMBIGUOUS
        # An anchor in a ring's hole shows nothing of the ring but must still know it.
        self.weight = torch.where(self.thing, torch.maximum(coverage, 0.5 * self.anchor), torch.zeros(()))
        self.codes = oracle.codes(self.attributes, self.centres, self.owner, anchors, self.positions)


class Loss:
    """All losses of the tower, from the first step on, and the accuracies that go into the log."""

    def __init__(self, oracle: Oracle):
        self.oracle = oracle

    def __call__(self, tower: Tower, batch: Batch, meter: Meter, kind: str, whole: bool):
        states, attentions = tower.features(batch.patches, batch.positions)
        owner = batch.owner.clamp(max=MAX_OBJECTS - 1)
        mask, weight = batch.thing, batch.weight[batch.thing]
        total_weight = weight.sum().clamp(min=1)
        label = batch.attributes.gather(1, owner[..., None].expand(-1, -1, 4))[mask]
        features = states[-1][:, 1:]
        out = tower.labels(features)
        parts = out.split([COLORS, SHAPES, SIZES, TEXTURES, 2, 2, 1, 1], dim=-1)
        loss = 0.0
        names = ("color", "shape", "size", "texture")
        for i, factor in enumerate((1.0, 1.5, 0.7, 0.7)):
            logits = parts[i][mask]
            loss = (
                loss + factor * (F.cross_entropy(logits, label[:, i], reduction="none") * weight).sum() / total_weight
            )
            hit = (logits.argmax(-1) == label[:, i]).float()
            meter.add(f"{kind}.{names[i]}", (hit * weight).sum() / total_weight)
        centre = batch.centres.gather(1, owner[..., None].expand(-1, -1, 2))[mask]
        off = F.smooth_l1_loss(parts[4][mask], centre, beta=0.05, reduction="none").sum(-1)
        loss = loss + 6 * (off * weight).sum() / total_weight
        meter.add(f"{kind}.centre", ((parts[4][mask] - centre).abs().mean(-1) * weight).sum() / total_weight * GRID / 2)
        own = self.oracle.patch_xy[batch.positions]
        loss = loss + 2 * F.smooth_l1_loss(parts[5], own, beta=0.05)
        clear = batch.clear
        loss = loss + 2 * F.binary_cross_entropy_with_logits(parts[6][..., 0][clear], batch.thing[clear].float())
        loss = loss + 2 * F.binary_cross_entropy_with_logits(
            parts[7][..., 0], batch.anchor, pos_weight=torch.tensor(8.0)
        )

        # Plateau breakers: a mean over the object must show shape and size early, and patches of an object must
        # find each other. Without them shape stays near chance for hundreds of steps.
        member = F.one_hot(torch.where(mask, batch.owner, MAX_OBJECTS), MAX_OBJECTS + 1)[..., :MAX_OBJECTS].float()
        size = member.sum(1)
        seen = size > 0
        kinds = batch.attributes[seen]
        share = (member / size.clamp(min=1)[:, None]).transpose(1, 2)
        for i, head in enumerate(tower.pooled):
            logits = head((share @ states[i + 1][:, 1:])[seen])
            loss = loss + 0.6 * F.cross_entropy(logits[:, :SHAPES], kinds[:, 1])
            loss = loss + 0.6 * F.cross_entropy(logits[:, SHAPES:], kinds[:, 2])
        digit = label[:, 1] >= PLAIN_SHAPES
        hit = (parts[1][mask].argmax(-1) == label[:, 1]).float()[digit]
        meter.add(f"{kind}.digit", hit.sum() / max(1, len(hit)), len(hit))
        meter.add(f"{kind}.pooled", (logits[:, :SHAPES].argmax(-1) == kinds[:, 1]).float().mean())
        same = member @ share  # row i: uniform over the patches of i's object
        for i in (1, 2):
            look = attentions[i][:, :2].mean(1)[:, 1:, 1:]
            loss = loss - 0.3 * (same * (look + 1e-6).log()).sum() / mask.sum().clamp(min=1)

        # The projector regresses the decoder's code.
        difference = (tower.project(features) - batch.codes).square().mean(-1)
        variance = batch.codes[mask].var(0).mean() if mask.any() else 1.0
        bare = clear & ~mask
        regression = (difference[mask] * weight).sum() / total_weight / variance
        loss = loss + 2 * regression + 2 * difference[bare].mean() / variance
        meter.add(f"{kind}.mse", regression)
        meter.add(f"{kind}.mse_bare", difference[bare].mean() / variance)

        if whole:  # so that methods which rank patches by CLS attention have something to rank by
            look = attentions[-1][:, :, 0, 1:].mean(1)
            target = mask.float() / mask.sum(1, keepdim=True).clamp(min=1)
            loss = loss - 0.2 * (target * (look + 1e-6).log()).sum(1).mean()
            there = torch.zeros(len(owner), COLORS + SHAPES)
            scene = torch.nonzero(seen, as_tuple=True)[0]
            there[scene, kinds[:, 0]] = 1.0
            there[scene, COLORS + kinds[:, 1]] = 1.0
            loss = loss + F.binary_cross_entropy_with_logits(tower.present(states[-1][:, 0]), there)
        meter.add(f"{kind}.loss", loss.detach())
        return loss


@torch.no_grad()
def cache_features(tower: Tower, dump: Dump, count: int, path) -> np.ndarray:
    """Visual tokens (count, 576, 128) f16 of the first pictures of a dump, kept in a file."""
    if not path.exists():
        random, oracle = np.random.default_rng(0), Oracle()
        out = np.zeros((count, dump.grid**2, HIDDEN), np.float16)
        for start in range(0, count, 16):
            batch = Batch(dump, np.arange(start, min(start + 16, count)), random, oracle, augment=False)
            out[start : start + 16] = tower.tokens(batch.patches, batch.positions).numpy()
        np.save(path, out)
    return np.load(path, mmap_mode="r")


@torch.no_grad()
def per_object(tower: Tower, dump: Dump, oracle: Oracle, count: int = 60) -> dict[str, float]:
    """Share of objects whose attribute the mean prediction over their patches names rightly, on unseen pictures."""
    random, hits, total = np.random.default_rng(1), np.zeros(4), 0
    small, small_total, digits, digits_total = 0.0, 0, 0.0, 0
    for start in range(0, count, 10):
        batch = Batch(dump, np.arange(start, min(start + 10, count)), random, oracle, augment=False)
        out = tower.labels(tower.features(batch.patches, batch.positions)[0][-1][:, 1:])
        parts = out.split([COLORS, SHAPES, SIZES, TEXTURES, 6], dim=-1)
        for scene in range(len(out)):
            for thing in range(MAX_OBJECTS):
                patches = batch.owner[scene] == thing
                if not patches.any():
                    continue
                total += 1
                right = [
                    int(parts[i][scene, patches].log_softmax(-1).mean(0).argmax() == batch.attributes[scene, thing, i])
                    for i in range(4)
                ]
                hits += right
                if batch.attributes[scene, thing, 1] >= PLAIN_SHAPES:
                    digits, digits_total = digits + right[1], digits_total + 1
                if batch.attributes[scene, thing, 2] == 0:
                    small, small_total = small + right[1], small_total + 1
    result = {f"object.{name}": hits[i] / total for i, name in enumerate(("color", "shape", "size", "texture"))}
    result |= {"object.small_shape": small / max(1, small_total)}
    return result | ({"object.digit": digits / digits_total} if digits_total else {})


def train(
    name: str,
    work,
    minutes: float,
    windows: Dump | None,
    pictures: Dump,
    tests: Dump,
    start=None,
    whole_share=(0.1, 0.6),
    lr_muon: float = 0.02,
    lr_adam: float = 2e-3,
    seed: int = 0,
    window_batch: int = 48,
    picture_batch: int = 10,
) -> Tower:
    """whole_share: share of steps on whole pictures in the first and the last half of the run."""
    torch.manual_seed(seed)
    oracle, tower, meter = Oracle(), Tower(), Meter()
    if start is not None:
        tower.load_state_dict(start.state_dict())
    run = Run(name, work, minutes, tower, make_optimisers(tower, lr_muon, lr_adam))
    random, loss_of = np.random.default_rng(seed + 1000 + run.step), Loss(oracle)
    mark, lines = 0, 0
    while not run.done():
        share = whole_share[0] if run.progress < 0.5 else whole_share[1]
        whole = windows is None or random.random() < share
        dump, size = (pictures, picture_batch) if whole else (windows, window_batch)
        batch = Batch(dump, random.choice(dump.count, size, replace=False), random, oracle)
        run.update(loss_of(tower, batch, meter, "whole" if whole else "window", whole))
        if run.elapsed >= mark:
            mark, lines = run.elapsed + 1.0, lines + 1
            run.log(**meter.take(), **(per_object(tower, tests, oracle) if lines % 5 == 0 else {}))
    if not run.finished:
        run.log(**meter.take(), **per_object(tower, tests, oracle, 200))
        run.save(finished=True)
    return tower
