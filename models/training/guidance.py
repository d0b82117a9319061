"""Losses of the shallow decoder: the answer, guided attention, read-outs and alignment.

In a generated world the right place to look is known, so attention is told where to fall. What is guided, and on
purpose what is not: nothing before the LOOK layer, and so never the last row of layer 1, which is what FastV reads.
"""

import dataclasses

import torch
import torch.nn.functional as F

from training.decoder import ANSWER, COMPARE, GATHER, LOOK
from training.optim import Meter
from training.oracle import HIDDEN, PLAIN_SHAPES
from training.oracle import SHAPES as N_SHAPES
from training.questions import Packed, bits
from training.tokenizer import COLORS, DIGITS, EOS, SHAPES, SIZES, TEXTURES, Words
from training.world import BACKGROUND, MAX_OBJECTS

COUNT_ODDS = 0.15  # attention of a counted object's anchor over that of <s>


@dataclasses.dataclass
class Weights:
    """Loss weights. guide scales everything that tells attention where to fall."""

    guide: float = 1.0
    look: float = 0.5
    last: float = 0.05
    text: float = 0.25
    option: float = 0.25
    count: float = 0.5
    extreme: float = 0.5
    read: float = 0.3
    number: float = 0.4
    hop: float = 0.4
    pair: float = 0.3
    align: float = 0.5


class View:
    """One batch as the losses see it: the model's states and attention, and what is where in the pictures."""

    def __init__(self, packed: Packed, states, attentions, head: int, chosen, owner, anchors, attributes, centres):
        """head: rows before the picture. chosen, owner (B, V): patch and object of every visual token."""
        self.packed, self.attentions, self.head = packed, attentions, head
        self.owner, self.attributes, self.centres = owner, attributes, centres
        self.states = [state.reshape(-1, HIDDEN) for state in states]
        self.visual = slice(head, head + owner.shape[1])
        self.text = slice(head + owner.shape[1], None)  # the question's own rows
        inside = torch.where(owner < MAX_OBJECTS, owner, MAX_OBJECTS)
        self.member = F.one_hot(inside, MAX_OBJECTS + 1)[..., :MAX_OBJECTS].float()
        self.is_anchor = torch.stack([torch.isin(c, a) for c, a in zip(chosen, anchors)]).float()
        self.last = packed.last[packed.valid]
        self.both = packed.has_noun[..., 1]
        self.extremes = (packed.target >= 0) & packed.valid
        self.single = packed.has_noun & (bits(packed.fits).sum(-1) == 1)

    def places(self, masks, scenes):
        """Visual tokens of the objects in bit masks (R,) of scenes (R,): (R, V) 0/1."""
        return (self.member[scenes] @ bits(masks)[..., None])[..., 0]

    def look(self, layer, first, end, rows):
        """Attention (R, context + own) of flat question rows, mean of the heads first..end-1."""
        scene, row = rows // self.packed.rows_per_scene, rows % self.packed.rows_per_scene
        return self.attentions[layer][scene, :, row][:, first:end].mean(1)


def uniform_loss(attention, target):
    """Mean cross-entropy of attention rows (R, V) against the uniform distribution over target (R, V) 0/1."""
    share = target / target.sum(-1, keepdim=True).clamp(min=1)
    return -(share * (attention + 1e-6).log()).sum() / (target.sum(-1) > 0).sum().clamp(min=1)


def row_loss(attention, rows):
    """Mean negative logarithm of the attention (R, T) that falls on one row (R,)."""
    return -(attention.gather(1, rows[:, None]) + 1e-6).log().sum() / max(1, len(rows))


def guidance(view: View, weights: Weights, meter: Meter):
    """Everything that tells attention where to fall."""
    packed, both = view.packed, view.both
    # S2: adjectives look at the objects that fit so far, nouns at the objects of their phrase, ...
    rows = torch.nonzero(packed.look > 0)[:, 0]
    attention = view.look(LOOK, 0, 3, rows)[:, view.visual]
    target = view.places(packed.look[rows], rows // packed.rows_per_scene)
    loss = weights.look * uniform_loss(attention, target)
    meter.add("mass", (attention * target).sum() / max(1, len(rows)))
    # ... and at <s> if nothing fits, so that the mass on the picture says whether there is such a thing.
    absent = packed.has_noun[..., 0] & (packed.fits[..., 0] == 0)
    rows = packed.noun[absent & (packed.source < 0)][:, 0]
    loss = loss + weights.look * row_loss(view.look(LOOK, 0, 3, rows), torch.zeros_like(rows))
    # S2: the last row looks at everything that is mentioned (for methods that read the last row of deeper layers).
    mentioned = (packed.fits[..., 0] | packed.fits[..., 1])[packed.valid]
    target = view.places(mentioned, packed.scene_of[packed.valid])
    loss = loss + weights.last * uniform_loss(view.look(LOOK, 0, 3, view.last)[:, view.visual], target)

    # S3: the second noun looks back at the first and at the word that says what is compared.
    attention = view.look(COMPARE, 0, 2, packed.noun[both][:, 1])[:, view.text]
    loss = loss + weights.text * row_loss(attention, packed.noun_own[both][:, 0])
    compared = packed.judged & (packed.key >= 0)
    attention = view.look(COMPARE, 2, 3, packed.judge[compared])[:, view.text]
    loss = loss + weights.text * row_loss(attention, packed.key[compared])
    # S4: the last row gathers from the last noun and from the word that says what is asked.
    final = torch.where(both, packed.noun_own[..., 1], packed.noun_own[..., 0])[packed.valid].clamp(min=0)
    loss = loss + weights.text * row_loss(view.look(GATHER, 0, 2, view.last)[:, view.text], final)
    key = packed.key[packed.valid]
    attention = view.look(GATHER, 2, 3, view.last[key >= 0])[:, view.text]
    loss = loss + weights.text * row_loss(attention, key[key >= 0])

    # Multiple choice. S3: an option looks at its letter; S4: at the last noun; S5: the last row picks the right option
    # and finds its letter there. Without a picture, S2: what is said looks at whom it is said of; S3: the noun looks at
    # the word of the context that says what is asked.
    chosen = packed.right >= 0
    if chosen.any():
        final = torch.where(both, packed.noun_own[..., 1], packed.noun_own[..., 0])[..., None].expand(-1, -1, 4)
        attention = view.look(GATHER, 0, 3, packed.option[packed.has_option])[:, view.text]
        loss = loss + 0.5 * weights.option * row_loss(attention, final[packed.has_option])
        attention = view.look(COMPARE, 0, 2, packed.option[packed.has_option])[:, view.text]
        loss = loss + weights.option * row_loss(attention, packed.letter_own[packed.has_option])
        right = packed.option_own[chosen].gather(1, packed.right[chosen][:, None])[:, 0]
        attention = view.look(ANSWER, 0, 3, packed.last[chosen])[:, view.text]
        meter.add("mass_option", attention.gather(1, right[:, None]).mean())
        loss = loss + weights.option * row_loss(attention, right)
        said = packed.source >= 0
        attention = view.look(COMPARE, 0, 2, packed.noun[said][:, 0])[:, view.text]
        loss = loss + weights.option * row_loss(attention, packed.source[said])
        attention = view.look(LOOK, 0, 2, packed.said[packed.has_said])[:, view.text]
        loss = loss + weights.option * row_loss(attention, packed.said_own[packed.has_said])

    # S3, head 3: counts. Every anchor that fits gets COUNT_ODDS of what <s> gets: n of them n times as much, so that
    # the odds of <s> tell n. Such attention needs no knowledge of n: the logits of a fit and of <s> are constants.
    counts = packed.counts & packed.has_noun[..., 0]
    attention, scenes = view.look(COMPARE, 3, 4, packed.noun[counts][:, 0]), packed.scene_of[counts]
    anchors = view.places(packed.fits[counts][:, 0], scenes) * view.is_anchor[scenes]
    target = torch.cat([torch.ones(len(anchors), 1), COUNT_ODDS * anchors], dim=-1)
    target = target / target.sum(-1, keepdim=True)
    seen = torch.cat([attention[:, :1], attention[:, view.visual]], dim=-1)
    loss = loss - weights.count * (target * (seen + 1e-6).log()).sum() / max(1, len(seen))
    odds = (seen[:, 1:] * anchors).sum(-1) / (COUNT_ODDS * seen[:, 0] + 1e-6)
    meter.add("count_off", (odds - anchors.sum(-1)).abs().clamp(max=9).sum() / max(1, len(odds)), len(odds))
    # S3, head 2: extremes. All candidates were looked at in S2, now the noun looks at the winner.
    rows, scenes = packed.noun[view.extremes][:, 0], packed.scene_of[view.extremes]
    attention = view.look(COMPARE, 2, 3, rows)[:, view.visual]
    target = view.places(1 << packed.target[view.extremes], scenes)
    meter.add("mass_extreme", (attention * target).sum() / max(1, len(rows)), len(rows))
    return loss + weights.extreme * uniform_loss(attention, target)


def mean_entropy(logits, labels):
    """Cross-entropy that is 0, not NaN, for no rows."""
    return F.cross_entropy(logits, labels, reduction="sum") / max(1, len(labels))


def read_outs(view: View, model, weights: Weights, meter: Meter):
    """What the states must tell a linear reader: attributes and presence after S2; numbers and comparisons after S3."""
    packed, single, attributes, centres = view.packed, view.single, view.attributes, view.centres
    after_look, after_compare = view.states[LOOK], view.states[COMPARE]
    scenes = packed.scene_of[..., None].expand_as(single)[single]
    thing = bits(packed.fits[single]).argmax(-1)
    parts = model.read_attributes(after_look[packed.noun[single]]).split([8, N_SHAPES, 3, 2, 2], dim=-1)
    label, centre = attributes[scenes, thing], centres[scenes, thing]
    read = sum(mean_entropy(parts[i], label[:, i]) for i in range(4))
    off = F.smooth_l1_loss(parts[4], centre, beta=0.05, reduction="sum") / max(1, centre.numel())
    meter.add("centre", (parts[4] - centre).abs().sum() / max(1, centre.numel()) * 12, len(centre))
    first = packed.has_noun[..., 0]
    noun, fits = packed.noun[..., 0][first], bits(packed.fits[..., 0][first]).sum(-1).long()
    read = read + 12 * off + mean_entropy(model.read_present(after_look[noun]), (fits > 0).long())
    loss = weights.read * read + weights.number * mean_entropy(model.read_number(after_compare[noun]), fits)

    hops = (packed.hop >= 0) & packed.judged
    out = model.read_hop(after_compare[packed.judge[hops]])
    loss = loss + weights.hop * mean_entropy(out, packed.hop[hops])
    meter.add("hop", (out.argmax(-1) == packed.hop[hops]).float().sum() / max(1, len(out)), len(out))

    pairs = single.all(-1)
    out, scenes = model.read_pair(after_compare[packed.noun[pairs][:, 1]]), packed.scene_of[pairs]
    one, two = (bits(packed.fits[pairs][:, i]).argmax(-1) for i in (0, 1))
    apart = centres[scenes, two] - centres[scenes, one]
    kinds_one, kinds_two = attributes[scenes, one], attributes[scenes, two]
    truth = torch.cat([apart > 0, (kinds_one == kinds_two)[:, :2], (kinds_one > kinds_two)[:, 2:3]], dim=1).float()
    sure = torch.cat([apart.abs() > 0.1, torch.ones(len(apart), 3, dtype=torch.bool)], dim=1).float()
    each = F.binary_cross_entropy_with_logits(out, truth, reduction="none") * sure
    loss = loss + weights.pair * each.sum() / max(1, len(out))
    meter.add("pair", (((out > 0) == (truth > 0)).float() * sure).sum() / sure.sum().clamp(min=1), len(out))

    out = model.read_extreme(after_compare[packed.noun[view.extremes][:, 0]])
    label = attributes[packed.scene_of[view.extremes], packed.target[view.extremes]]
    return loss + weights.hop * (mean_entropy(out[:, :8], label[:, 0]) + mean_entropy(out[:, 8:], label[:, 1]))


def option_read_out(view: View, model, meter: Meter):
    """After S4 every option must tell whether it is the right one and what its letter is."""
    packed = view.packed
    if not packed.has_option.any():
        return 0.0
    right = (torch.arange(4) == packed.right[..., None])[packed.has_option].long()
    letter = torch.arange(4).expand_as(packed.has_option)[packed.has_option]
    out, letters = model.read_right(view.states[GATHER][packed.option[packed.has_option]]).split([2, 4], dim=-1)
    meter.add("letter", (letters.argmax(-1) == letter).float().mean())
    meter.add("option", (out.argmax(-1) == right).float().mean())
    return mean_entropy(out, right) + mean_entropy(letters, letter)


_WORD_OF: list[torch.Tensor] = []


def alignment(model, visual, owner, attributes, words):
    """Raw products of visual tokens and word embeddings, which SparseVLM chooses its raters by, softmax over the words
    in use: object patches say their colour, shape, size and texture, bare ones nothing."""
    if not _WORD_OF:
        column = {piece: i for i, piece in enumerate(words.in_use)}
        _WORD_OF.extend(
            torch.tensor([column[words.word(name)] for name in names])
            for names in (COLORS, SHAPES + DIGITS, SIZES, TEXTURES, ["object", "objects"], ["number", "number"])
        )
    scores = (visual @ model.embedding[torch.tensor(words.in_use)].T).log_softmax(-1)
    thing = owner < MAX_OBJECTS
    label = attributes.gather(1, owner.clamp(max=MAX_OBJECTS - 1)[..., None].expand(-1, -1, 4))[thing]
    on_object = scores[thing]
    spoken = sum(
        share * on_object.gather(1, _WORD_OF[i][label[:, i]][:, None])
        for i, share in enumerate((0.32, 0.32, 0.12, 0.12))
    )
    nouns = torch.stack(_WORD_OF[4:])[(label[:, 1] >= PLAIN_SHAPES).long()]
    spoken = spoken[:, 0] + 0.06 * on_object.gather(1, nouns).sum(-1)
    bare = scores[owner == BACKGROUND]
    # Most patches are bare: a small preference there decides whether a word is a rater. Hence the factor.
    return -spoken.mean() - 6 * bare.sum() / max(1, bare.numel())


def total_loss(view: View, model, visual, words: Words, weights: Weights, meter: Meter):
    """Loss of one batch; also the type of every question and whether it was answered rightly."""
    packed, last = view.packed, view.last
    answer = packed.answer[packed.valid]
    logits = model.logits(view.states[-1][last])
    entropy = F.cross_entropy(logits, answer)
    loss = entropy + 0.1 * F.cross_entropy(model.logits(view.states[-1][last + 1]), torch.full_like(last, EOS))
    if weights.guide > 0:
        loss = loss + weights.guide * guidance(view, weights, meter)
    loss = loss + weights.hop * option_read_out(view, model, meter)
    if visual.shape[1]:
        loss = loss + read_outs(view, model, weights, meter)
        loss = loss + weights.align * alignment(model, visual, view.owner, view.attributes, words)
    right = (logits.argmax(-1) == answer).float()
    meter.add("answer", entropy)
    meter.add("accuracy", right.mean())
    meter.add("loss", loss)
    return loss, packed.kind[packed.valid], right
