"""Training of the shallow decoder on oracle tokens, then on what the tower really sees."""

import dataclasses

import numpy as np
import torch

from training.decoder import Decoder
from training.guidance import View, Weights, total_loss
from training.optim import Meter, Run, make_optimisers
from training.oracle import HIDDEN, Oracle
from training.questions import Deck, Packed, choose_patches, read_questions
from training.tokenizer import Words
from training.world import Dump

OPEN = {"short": 0.5, "long": 0.5}
EVERYTHING = {"short": 0.24, "long": 0.27, "choice": 0.28, "vizwiz": 0.07, "text": 0.14}
RARE = {"number": 3.0, "vnumber": 2.0}  # only half of the pictures bear them
SIMPLE = ("exist", "color", "shape", "size", "texture", "pos")


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
        kept = torch.zeros_like(score, dtype=torch.bool).scatter_(
            -1, score.topk(min(self.keep, visual), -1).indices, True
        )
        return kept.repeat_interleave(self.packed.per_question, dim=1)


def train(
    name,
    work,
    minutes,
    dump: Dump,
    words: Words,
    start=None,
    features=None,
    weights=None,
    lr_muon=0.01,
    lr_adam=1e-3,
    seed=0,
    scenes=10,
    per_scene=11,
    suffix=(0.2, 0.5),
    save_every=5.0,
    simple_until=0.08,
    long_prefix=0.3,
    free_from=1.0,
    cut_share=0.0,
    all_share=0.0,
    real_share=0.8,
    shares=None,
    rare=None,
) -> Decoder:
    """features: real visual tokens (N, 576, 128) f16 of the first N pictures, used in real_share of the batches.

    suffix: share of batches with the answer instruction at the start and at the end. free_from: progress from which
    attention is no longer guided. shares: of the decks, see questions.Deck; none = open questions.
    rare: factors of the types' weights. cut_share, all_share: share of batches cut by own attention, and with all 576.
    """
    torch.manual_seed(seed)
    model, oracle, meter = Decoder(), Oracle(), Meter()
    if start is not None:
        model.load_state_dict(start.state_dict())
    run = Run(name, work, minutes, model, make_optimisers(model, lr_muon, lr_adam), save_every=save_every)
    shared = np.random.default_rng(seed + 2000 + run.step)  # what makes batches of a team equally long
    random = np.random.default_rng(seed + 3000 + run.step + 100000 * run.team.rank)
    torch.manual_seed(seed + run.step + 100000 * run.team.rank)
    questions = read_questions(dump, words)
    deck = Deck(questions, shares or OPEN)
    weights = weights or Weights()
    kinds = len(questions.types)
    simple = np.array([kind in SIMPLE for kind in questions.types], float)
    mastery = np.zeros(kinds)  # running accuracy by type
    rarity = np.array([(rare or RARE).get(kind, 1.0) for kind in questions.types])
    prefixes, text_prefixes = (
        [torch.tensor(prefix) for prefix in both] for both in (words.prefixes, words.text_prefixes)
    )
    mark = 0
    model.train()
    while not run.done():
        p = run.progress
        weight = np.where(simple > 0, 1.0, 0.02 if p < simple_until else 1.0) * (1.1 - mastery) + 0.02
        weight = weight * rarity
        real = features is not None and shared.random() < real_share
        index = random.choice(len(features) if real else dump.count, scenes, replace=False)
        name, instruction, of_eleven = deck.draw(shared, 1 - (suffix[0] + (suffix[1] - suffix[0]) * p))
        picked = deck.pick(name, index, weight, per_scene * of_eleven // 11, random)
        packed = Packed(questions, *picked, words.closes[instruction])
        draw = shared.random()
        everything = draw < all_share
        count = 576 if everything else int(shared.integers(64, 176))
        if name == "text":  # no picture at all
            index, count, everything = picked[0][:, 0], 0, False
        prefix = (text_prefixes if name == "text" else prefixes)[int(random.random() < long_prefix)]
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
        original = count > 0 and (everything or random.random() < 0.3)
        positions = chosen if original else torch.arange(count).expand(len(index), -1)
        cut = None
        if all_share <= draw < all_share + cut_share and count > 0:
            cut = Cut(packed, int(random.choice([12, 18, 32, 48, 64, 110])), random.uniform(0.2, 1.0))
        weights_now = weights if p < free_from else dataclasses.replace(weights, guide=0.0)
        states, attentions = model(prefix, visual, positions, 576 if original else count, packed.ids, cut)
        view = View(packed, states, attentions, len(prefix), chosen, owner, anchors, attributes, centres)
        loss, types, right = total_loss(view, model, visual, words, weights_now, meter)
        run.update(loss)
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
