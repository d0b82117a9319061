"""Training of the shallow decoder: packed question batches, guided attention, read-outs.

In a generated world the right place to look is known, so attention is told where to fall (cross-entropy against a
uniform target). What is guided, and on purpose what is not: nothing before the LOOK layer, and never the last row
of layer 1, which is what FastV reads.
"""

import dataclasses
import hashlib
import pickle

import numpy as np
import torch
import torch.nn.functional as F

from training import decoder as D
from training.optim import Meter, Run, make_optimisers
from training.oracle import HIDDEN, Oracle
from training.tokenizer import COLORS, EOS, PLURALS, SHAPES, Words
from training.world import AMBIGUOUS, BACKGROUND, MAX_OBJECTS, Dump

SIZES, TEXTURES = ["small", "medium", "large"], ["plain", "striped"]
ATTRIBUTE = {word: (0, i) for i, word in enumerate(COLORS)} | {word: (1, i) for i, word in enumerate(SHAPES)} \
    | {word: (1, i) for i, word in enumerate(PLURALS)} | {word: (2, i) for i, word in enumerate(SIZES)} \
    | {word: (3, i) for i, word in enumerate(TEXTURES)}
SIMPLE = ("exist", "color", "shape", "size", "texture", "pos")
HOP = ("relv", "relc", "same", "larger")
SHORT = 12         # questions of at most so many tokens are packed apart from longer ones
LONGEST = 26       # tokens of "\n" + question
ROOM = LONGEST + 16  # ... with instruction, "ASSISTANT:" and answer


@dataclasses.dataclass
class Questions:
    """All questions of a dump as arrays (N, Q, ...), -1 or 0 where there is nothing. Rows count from the "▁" on."""

    types: list
    kind: np.ndarray       # index into types, -1 = no question
    tokens: np.ndarray     # (N, Q, LONGEST)
    length: np.ndarray
    answer: np.ndarray     # token id
    look: np.ndarray       # (N, Q, LONGEST) bit mask of the objects a row should look at
    noun: np.ndarray       # (N, Q, 2) rows of the first two nouns
    fits: np.ndarray       # (N, Q, 2) bit mask of the objects of their phrases
    key: np.ndarray        # row of the word that says what is asked, -1 if there is none
    hop: np.ndarray        # 1 if the answer is Yes, left or above, else 0; -1 if nothing is compared
    target: np.ndarray     # the winner of an extreme


def read_questions(dump: Dump, words: Words) -> Questions:
    """Parses questions.jsonl; the result is kept beside it, keyed by the tokenizer."""
    key = hashlib.sha256(repr((2, words.content, LONGEST, [f.name for f in dataclasses.fields(Questions)])).encode()).hexdigest()[:12]
    cache = dump.folder / f"questions-{key}.pickle"
    if cache.exists():
        return pickle.loads(cache.read_bytes())
    types = list(dump.meta["types"])
    most = dump.meta["questions"]
    shape = (dump.count, most)
    q = Questions(types, np.full(shape, -1, np.int8), np.zeros((*shape, LONGEST), np.int16), np.zeros(shape, np.int8),
                  np.zeros(shape, np.int16), np.zeros((*shape, LONGEST), np.int16), np.full((*shape, 2), -1, np.int8),
                  np.zeros((*shape, 2), np.int16), np.full(shape, -1, np.int8), np.full(shape, -1, np.int8),
                  np.full(shape, -1, np.int8))
    for i, questions in enumerate(dump.questions()):
        for j, question in enumerate(questions[:most]):
            if question["type"] == "mc":
                continue
            encoded = words.tokenizer.encode("\n" + question["text"])
            ids = encoded.ids[1:]
            if len(ids) > LONGEST:
                raise ValueError(f"longer than {LONGEST} tokens: {question['text']!r}")
            row = {start: r for r, (start, _) in enumerate(encoded.offsets[1:])}
            # A piece's offsets may include the space before it.
            row |= {start + 1: r for r, (start, end) in enumerate(encoded.offsets[1:])
                    if ("\n" + question["text"])[start:end].startswith(" ")}
            q.kind[i, j] = types.index(question["type"])
            q.tokens[i, j, :len(ids)] = ids
            q.length[i, j] = len(ids)
            q.answer[i, j] = words.word(question["answer"])
            for k, phrase in enumerate(question["phrases"][:2]):
                fitting = set(range(dump.objects[i]))
                for start, end in phrase["words"]:
                    name = question["text"][start:end]
                    if name in ATTRIBUTE:
                        axis, value = ATTRIBUTE[name]
                        fitting = {o for o in fitting if dump.attributes[i, o, axis] == value}
                    q.look[i, j, row[start + 1]] = sum(1 << o for o in fitting)
                noun = row[phrase["noun"][0] + 1]
                fits = sum(1 << o for o in phrase["objects"] if o < MAX_OBJECTS)
                q.look[i, j, noun] = fits
                q.noun[i, j, k], q.fits[i, j, k] = noun, fits
            if question["key"]:
                # What matters in "the same color as" is the word behind "same".
                q.key[i, j] = row[question["key"][0] + 1] + (question["type"] == "same")
            if question["type"] in HOP:
                q.hop[i, j] = question["answer"] in ("Yes", "left", "above")
            if question["type"] == "extreme":
                q.target[i, j] = question["targets"][0]
    used = q.tokens[q.kind >= 0]
    if (used == 0).all(axis=1).any() or dump.objects.max() > MAX_OBJECTS:
        raise ValueError("a question without tokens, or a scene with too many objects")
    cache.write_bytes(pickle.dumps(q, protocol=4))
    return q


def bits(masks: torch.Tensor) -> torch.Tensor:
    """(...,) bit masks -> (..., MAX_OBJECTS) floats."""
    return ((masks.long()[..., None] >> torch.arange(MAX_OBJECTS)) & 1).float()


class Packed:
    """One batch: B scenes, Q questions each, V visual tokens. All index tensors speak of flat question rows."""

    def __init__(self, dump: Dump, questions: Questions, scenes, weights: np.ndarray, per_scene: int, words: Words,
                 random: np.random.Generator, suffix: bool):
        # Short and long questions go into different batches, so that little is padded.
        short = random.random() < 0.5
        kinds = np.where((questions.length <= SHORT) == short, questions.kind, -1)
        kind = kinds[scenes]
        chance = np.where(kind >= 0, weights[kind], 0.0) + 1e-9
        order = np.argsort(-np.log(random.random(kind.shape)) / chance, axis=1)[:, :per_scene]
        scene = np.asarray(scenes)[:, None]
        kind = kinds[scene, order]
        self.kind = torch.from_numpy(kind.astype(np.int64))
        self.count_kind = questions.types.index("count")
        length = np.where(kind >= 0, questions.length[scene, order], 0).astype(np.int64)
        close = np.array(words.close_suffix if suffix else words.close)
        total = int(length.max()) + len(close) + 1
        batch, count = length.shape
        ids = np.zeros((batch, count, max(total, ROOM)), np.int64)
        ids[:, :, :questions.tokens.shape[2]] = questions.tokens[scene, order]
        rows = np.arange(len(close))
        b, c = np.ogrid[:batch, :count]
        ids[b[..., None], c[..., None], length[..., None] + rows] = close
        answer = questions.answer[scene, order].astype(np.int64)
        last = length + len(close) - 1
        ids[b, c, last + 1] = answer
        self.ids = torch.from_numpy(ids[:, :, :total])
        self.valid = self.kind >= 0
        base = (np.arange(batch)[:, None] * count + np.arange(count)) * total
        self.rows_per_scene = count * total
        self.last = torch.from_numpy(base + last)            # flat row that answers
        self.answer = torch.from_numpy(answer)
        look = np.zeros((batch, count, max(total, ROOM)), np.int64)
        look[:, :, :questions.look.shape[2]] = questions.look[scene, order]
        look[kind < 0] = 0
        self.look = torch.from_numpy(look[:, :, :total].reshape(batch * count * total))
        noun = questions.noun[scene, order].astype(np.int64)
        self.has_noun = torch.from_numpy(noun >= 0) & self.valid[..., None]
        self.noun_own = torch.from_numpy(noun)               # row within the question
        self.noun = torch.from_numpy(base[..., None] + noun)  # flat row
        self.fits = torch.from_numpy(questions.fits[scene, order].astype(np.int64))
        self.hop = torch.from_numpy(np.where(kind >= 0, questions.hop[scene, order], -1).astype(np.int64))
        self.key = torch.from_numpy(np.where(kind >= 0, questions.key[scene, order], -1).astype(np.int64))
        self.target = torch.from_numpy(questions.target[scene, order].astype(np.int64))
        self.per_question = total
        self.scene_of = torch.arange(batch)[:, None].expand(batch, count)


def choose_patches(owner, anchors, count: int, random: np.random.Generator, keep: float) -> np.ndarray:
    """Visual tokens of a scene, in order: every anchor, a share `keep` of the object patches, background to fill up."""
    chance = random.random(owner.shape)
    chance[owner < MAX_OBJECTS] += np.where(chance[owner < MAX_OBJECTS] < keep, 2.0, 0.0)
    for scene, patches in enumerate(anchors):
        chance[scene, patches[patches >= 0]] += 4.0
    chance[owner == AMBIGUOUS] -= 1.0
    return np.sort(np.argsort(-chance, axis=1)[:, :count], axis=1)


class Cut:
    """Keeps, for every question, the visual tokens its noun and adjective rows look at most (noise added)."""

    def __init__(self, packed: Packed, keep: int, noise: float):
        self.packed, self.keep, self.noise = packed, keep, noise

    def __call__(self, attention):
        batch, rows, visual = attention.shape
        look = attention.view(batch, -1, self.packed.per_question, visual)
        raters = (self.packed.look.view(batch, -1, self.packed.per_question) > 0).float()
        score = (look * raters[..., None]).sum(2) / raters.sum(2).clamp(min=1)[..., None]
        score = (score + 1e-5).log() + self.noise * torch.randn_like(score)
        kept = torch.zeros_like(score, dtype=torch.bool).scatter_(-1, score.topk(min(self.keep, visual), -1).indices, True)
        return kept.repeat_interleave(self.packed.per_question, dim=1)


@dataclasses.dataclass
class Weights:
    """Loss weights. guide scales everything that tells attention where to fall."""

    guide: float = 1.0
    look: float = 0.5
    last: float = 0.05
    text: float = 0.25
    count: float = 0.5
    extreme: float = 0.5
    read: float = 0.3
    number: float = 0.4
    hop: float = 0.4
    pair: float = 0.3
    align: float = 0.5


def uniform_loss(attention, target):
    """Mean cross-entropy of attention rows (R, V) against the uniform distribution over target (R, V) 0/1."""
    share = target / target.sum(-1, keepdim=True).clamp(min=1)
    return -(share * (attention + 1e-6).log()).sum() / max(1, len(target))


def losses(model, packed, prefix, visual, chosen, owner, anchors, attributes, centres, words, weights, meter, after,
           positions, cut=None, codes=None):
    """Total loss of one batch. owner, chosen: (B, V); codes: visual tokens of the scene for the alignment."""
    states, attentions = model(prefix, visual, positions, after, packed.ids, cut)
    head, count = len(prefix), visual.shape[1]
    flat = [state.reshape(-1, HIDDEN) for state in states]
    valid = packed.valid
    last = packed.last[valid]
    answer = packed.answer[valid]
    logits = model.logits(flat[-1][last])
    each = F.cross_entropy(logits, answer, reduction="none")
    loss = each.mean() + 0.1 * F.cross_entropy(model.logits(flat[-1][last + 1]), torch.full_like(last, EOS))
    right = (logits.argmax(-1) == answer).float()
    meter.add("answer", each.detach().mean())
    meter.add("accuracy", right.mean())
    kinds = packed.kind[valid]
    packed.result = (kinds, right)

    member = F.one_hot(torch.where(owner < MAX_OBJECTS, owner, MAX_OBJECTS), MAX_OBJECTS + 1)[..., :MAX_OBJECTS].float()
    batch, rows = visual.shape[0], packed.rows_per_scene
    is_anchor = torch.zeros(batch, count)
    for scene in range(batch):
        is_anchor[scene] = torch.isin(chosen[scene], anchors[scene]).float()

    def places(masks, scenes):
        """Visual tokens of the objects in bit masks (R,) of scenes (R,): (R, V) 0/1."""
        return (member[scenes] @ bits(masks)[..., None])[..., 0]

    def look_rows(layer, heads, flat_rows):
        """Attention (R, V + rest) of flat rows, mean of the given heads."""
        scene, row = flat_rows // rows, flat_rows % rows
        return attentions[layer][scene, :, row][:, heads].mean(1)

    guided = 0.0
    if weights.guide > 0:
        # S2: adjectives look at the objects that fit so far, nouns at the objects of their phrase.
        flat_rows = torch.nonzero(packed.look > 0)[:, 0]
        attention = look_rows(D.LOOK, slice(0, 3), flat_rows)[:, head:head + count]
        target = places(packed.look[flat_rows], flat_rows // rows)
        present = target.sum(-1) > 0
        guided = guided + weights.look * uniform_loss(attention[present], target[present])
        meter.add("mass", ((attention * target).sum(-1)[present]).mean().detach())
        # ... and at <s> if nothing fits, so that the mass on the picture says whether there is such a thing.
        absent = packed.has_noun[..., 0] & (packed.fits[..., 0] == 0)
        if absent.any():
            attention = look_rows(D.LOOK, slice(0, 3), packed.noun[absent][:, 0])[:, 0]
            guided = guided - weights.look * (attention + 1e-6).log().mean()
        # S2: the last row looks at everything that is mentioned (methods that read the last row of deeper layers).
        mentioned = (packed.fits[..., 0] | packed.fits[..., 1])[valid]
        target = places(mentioned, packed.scene_of[valid])
        present = target.sum(-1) > 0
        attention = look_rows(D.LOOK, slice(0, 3), last)[:, head:head + count]
        guided = guided + weights.last * uniform_loss(attention[present], target[present])
        # Text to text. S3: second noun -> first noun; S4: last row -> the last noun.
        both = packed.has_noun[..., 1]
        if both.any():
            attention = look_rows(D.COMPARE, slice(0, 2), packed.noun[both][:, 1])[:, head + count:]
            guided = guided - weights.text * (attention.gather(1, packed.noun_own[both][:, :1]) + 1e-6).log().mean()
        final = torch.where(both, packed.noun_own[..., 1], packed.noun_own[..., 0])
        attention = look_rows(D.GATHER, slice(0, 2), last)[:, head + count:]
        guided = guided - weights.text * (attention.gather(1, final[valid].clamp(min=0)[:, None]) + 1e-6).log().mean()
        # S3, head 2: the second noun of a comparison -> the word that says what is compared.
        compared = both & (packed.hop >= 0) & (packed.key >= 0)
        if compared.any():
            attention = look_rows(D.COMPARE, slice(2, 3), packed.noun[compared][:, 1])[:, head + count:]
            guided = guided - weights.text * (attention.gather(1, packed.key[compared][:, None]) + 1e-6).log().mean()
        # S4, head 2: last row -> the word that says what is asked.
        keyed = packed.key[valid] >= 0
        if keyed.any():
            attention = look_rows(D.GATHER, slice(2, 3), last[keyed])[:, head + count:]
            guided = guided - weights.text * (attention.gather(1, packed.key[valid][keyed][:, None]) + 1e-6).log().mean()
        # S3, head 3: counts. A tenth on the anchor of every object that fits, the rest on <s>: the mass is the count.
        counts = (packed.kind == packed.count_kind) & packed.has_noun[..., 0]
        if counts.any():
            attention = look_rows(D.COMPARE, slice(3, 4), packed.noun[counts][:, 0])
            scenes = packed.scene_of[counts]
            target = places(packed.fits[counts][:, 0], scenes) * is_anchor[scenes]
            target = torch.cat([1 - 0.1 * target.sum(-1, keepdim=True), 0.1 * target], dim=-1)
            seen = torch.cat([attention[:, :1], attention[:, head:head + count]], dim=-1)
            guided = guided - weights.count * (target * (seen + 1e-6).log()).sum(-1).mean()
        # S3, head 2: extremes. All candidates were looked at in S2, now the noun looks at the winner.
        extremes = (packed.target >= 0) & valid
        if extremes.any():
            attention = look_rows(D.COMPARE, slice(2, 3), packed.noun[extremes][:, 0])[:, head:head + count]
            target = places(1 << packed.target[extremes], packed.scene_of[extremes])
            present = target.sum(-1) > 0
            guided = guided + weights.extreme * uniform_loss(attention[present], target[present])
            meter.add("mass_extreme", (attention * target).sum(-1)[present].mean().detach())
    loss = loss + weights.guide * guided

    # Read-outs after S2 at nouns with one referent, and whether there is one at all.
    single = packed.has_noun & (bits(packed.fits).sum(-1) == 1)
    scenes = packed.scene_of[..., None].expand_as(single)[single]
    thing = bits(packed.fits[single]).argmax(-1)
    parts = model.read_attributes(flat[D.LOOK][packed.noun[single]]).split([8, 8, 3, 2, 2], dim=-1)
    label = attributes[scenes, thing]
    read = sum(F.cross_entropy(parts[i], label[:, i]) for i in range(4))
    read = read + 12 * F.smooth_l1_loss(parts[4], centres[scenes, thing], beta=0.05)
    first = packed.has_noun[..., 0]
    noun, fits = packed.noun[..., 0][first], bits(packed.fits[..., 0][first]).sum(-1).long()
    read = read + F.cross_entropy(model.read_present(flat[D.LOOK][noun]), (fits > 0).long())
    meter.add("centre", (parts[4] - centres[scenes, thing]).abs().mean().detach() * 12)
    loss = loss + weights.read * read
    # After S3: how many, what a comparison says, what the extreme is.
    loss = loss + weights.number * F.cross_entropy(model.read_number(flat[D.COMPARE][noun]), fits)
    hops = (packed.hop >= 0) & packed.has_noun[..., 1]
    if hops.any():
        out = model.read_hop(flat[D.COMPARE][packed.noun[hops][:, 1]])
        loss = loss + weights.hop * F.cross_entropy(out, packed.hop[hops])
        meter.add("hop", (out.argmax(-1) == packed.hop[hops]).float().mean())
    pairs = single.all(-1)
    if pairs.any():
        out = model.read_pair(flat[D.COMPARE][packed.noun[pairs][:, 1]])
        scenes = packed.scene_of[pairs]
        one, two = (bits(packed.fits[pairs][:, i]).argmax(-1) for i in (0, 1))
        apart = centres[scenes, two] - centres[scenes, one]
        kinds_one, kinds_two = attributes[scenes, one], attributes[scenes, two]
        truth = torch.cat([apart > 0, (kinds_one == kinds_two)[:, :2], (kinds_one > kinds_two)[:, 2:3]], dim=1).float()
        sure = torch.cat([apart.abs() > 0.1, torch.ones(len(apart), 3, dtype=torch.bool)], dim=1).float()
        each = F.binary_cross_entropy_with_logits(out, truth, reduction="none") * sure
        loss = loss + weights.pair * each.sum(-1).mean()
        hit = (((out > 0) == (truth > 0)).float() * sure).sum(0) / sure.sum(0).clamp(min=1)
        for name, value in zip(("pair_x", "pair_y", "pair_color", "pair_shape", "pair_size"), hit):
            meter.add(name, value)
    extremes = (packed.target >= 0) & valid
    if extremes.any():
        out = model.read_extreme(flat[D.COMPARE][packed.noun[extremes][:, 0]])
        label = attributes[packed.scene_of[extremes], packed.target[extremes]]
        loss = loss + weights.hop * (F.cross_entropy(out[:, :8], label[:, 0]) + F.cross_entropy(out[:, 8:], label[:, 1]))
    # Alignment of raw visual tokens and word embeddings: what SparseVLM chooses its raters by.
    if codes is not None:
        loss = loss + weights.align * alignment(model, codes, owner, attributes, words)
    meter.add("loss", loss.detach())
    return loss


_WORD_OF: list[torch.Tensor] = []


def alignment(model, codes, owner, attributes, words):
    """softmax(E·Wᵀ) over the pieces in use: object patches say their colour, shape, size and texture, bare ones nothing."""
    if not _WORD_OF:
        column = {piece: i for i, piece in enumerate(words.in_use)}
        _WORD_OF.extend(torch.tensor([column[words.word(name)] for name in names])
                        for names in (COLORS, SHAPES, SIZES, TEXTURES, ["object", "objects"]))
    scores = (codes @ model.embedding[torch.tensor(words.in_use)].T).log_softmax(-1)
    thing = owner < MAX_OBJECTS
    label = attributes.gather(1, owner.clamp(max=MAX_OBJECTS - 1)[..., None].expand(-1, -1, 4))[thing]
    on_object = scores[thing]
    spoken = sum(share * on_object.gather(1, _WORD_OF[i][label[:, i]][:, None])
                 for i, share in enumerate((0.32, 0.32, 0.12, 0.12)))
    spoken = spoken[:, 0] + 0.06 * on_object[:, _WORD_OF[4]].sum(-1)
    bare = scores[owner == BACKGROUND]
    return -spoken.mean() - bare.sum() / max(1, bare.numel())


def train(name, work, minutes, dump: Dump, words: Words, start=None, features=None, weights=None, lr_muon=0.01,
          lr_adam=1e-3, seed=0, scenes=10, per_scene=11, suffix=(0.2, 0.5), simple_until=0.08, long_prefix=0.3,
          free_from=1.0, cut_share=0.0, all_share=0.0, real_share=0.8) -> D.Decoder:
    """features: real visual tokens (N, 576, 128) f16 of the first N pictures, used in real_share of the batches.

    suffix: share of batches with the answer instruction at the start and at the end. free_from: progress from which
    attention is no longer guided. cut_share, all_share: share of batches cut by own attention, and with all 576.
    """
    torch.manual_seed(seed)
    model, oracle, meter = D.Decoder(), Oracle(), Meter()
    if start is not None:
        model.load_state_dict(start.state_dict())
    run = Run(name, work, minutes, model, make_optimisers(model, lr_muon, lr_adam))
    random = np.random.default_rng(seed + 2000 + run.step)
    questions = read_questions(dump, words)
    weights = weights or Weights()
    kinds = len(questions.types)
    simple = np.array([kind in SIMPLE for kind in questions.types], float)
    mastery = np.zeros(kinds)  # running accuracy by type
    prefixes = [torch.tensor(prefix) for prefix in words.prefixes]
    mark = 0
    model.train()
    while not run.done():
        p = run.progress
        weight = np.where(simple > 0, 1.0, 0.02 if p < simple_until else 1.0) * (1.1 - mastery) + 0.02
        real = features is not None and random.random() < real_share
        index = random.choice(len(features) if real else dump.count, scenes, replace=False)
        with_suffix = random.random() < suffix[0] + (suffix[1] - suffix[0]) * p
        prefix = prefixes[int(random.random() < long_prefix)]
        packed = Packed(dump, questions, index, weight, per_scene, words, random, with_suffix)
        draw = random.random()
        everything = draw < all_share
        count = 576 if everything else int(random.integers(64, 176))
        owner_all, anchors = dump.owner[index], dump.anchors[index]
        keep = 1.0 if random.random() < 0.3 else random.uniform(0.15, 1.0)
        chosen_np = choose_patches(owner_all, anchors, count, random, keep)
        chosen = torch.from_numpy(chosen_np)
        owner = torch.from_numpy(np.take_along_axis(owner_all, chosen_np, 1).astype(np.int64))
        attributes, centres = torch.from_numpy(dump.attributes[index]), torch.from_numpy(dump.centres[index])
        anchors = torch.from_numpy(anchors)
        if not real:
            codes = oracle.codes(attributes, centres, torch.from_numpy(owner_all.astype(np.int64)), anchors)
            visual = codes.gather(1, chosen[..., None].expand(-1, -1, HIDDEN))
            visual = visual + 0.25 * torch.randn_like(visual)
        else:
            visual = torch.from_numpy(features[index[:, None], chosen_np].astype(np.float32))
        original = everything or random.random() < 0.3
        positions = chosen if original else torch.arange(count).expand(scenes, -1)
        cut = None
        if all_share <= draw < all_share + cut_share:
            cut = Cut(packed, int(random.choice([12, 18, 32, 48, 64, 110])), random.uniform(0.2, 1.0))
        weights_now = weights if p < free_from else dataclasses.replace(weights, guide=0.0)
        loss = losses(model, packed, prefix, visual, chosen, owner, anchors, attributes, centres, words, weights_now,
                      meter, 576 if original else count, positions, cut, visual)
        run.update(loss)
        types, right = packed.result
        if cut is None:
            for kind in types.unique().tolist():
                hits = right[types == kind]
                rate = 1 - 0.99 ** len(hits)
                mastery[kind] += rate * (float(hits.mean()) - mastery[kind])
                meter.add(questions.types[kind], hits.mean(), len(hits))
        else:
            meter.add("cut", right.mean())
        if run.elapsed >= mark:
            mark = run.elapsed + 1.0
            run.log(**meter.take())
    if not run.finished:
        run.log(**meter.take())
        run.save(finished=True)
    return model
