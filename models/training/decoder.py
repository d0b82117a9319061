"""Shallow decoder (LLaMA layout): six layers, many questions behind one picture.

    S0 S1  bind words; their text rows see the visual keys of another picture (decoys), so nothing can be read there
    S2     looks at the objects a phrase names and reads their attributes
    S3     compares, counts, finds extremes: a second look
    S4     the last row gathers from the nouns
    S5     answers

A batch holds B scenes with Q questions each. Context rows (prefix and visual tokens) are shared by a scene's
questions; a question's rows see the context and their own past, at the positions they would have if alone.
"""

import torch
import torch.nn.functional as F
from torch import nn

from training.oracle import COLORS, HIDDEN, PLAIN_SHAPES, SHAPES
from training.vision import matrix

HEADS, HEAD_DIM, MLP, LAYERS = 4, 32, 384, 6
DECOY_LAYERS, LOOK, COMPARE, GATHER, ANSWER = (0, 1), 2, 3, 4, 5
VOCABULARY, THETA, EPS = 704, 10000.0, 1e-5


def rope_table(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, L) -> cosine and sine (B, 1, L, 32), halves repeated as in LLaMA."""
    frequency = THETA ** (-torch.arange(0, HEAD_DIM, 2).float() / HEAD_DIM)
    angle = positions.float()[..., None] * frequency
    angle = torch.cat([angle, angle], dim=-1)[:, None]
    return angle.cos(), angle.sin()


def rotate(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    half = HEAD_DIM // 2
    return x * cosine + torch.cat([-x[..., half:], x[..., :half]], dim=-1) * sine


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1 = nn.Parameter(torch.ones(HIDDEN))
        self.norm2 = nn.Parameter(torch.ones(HIDDEN))
        self.qkv = matrix(3 * HIDDEN, HIDDEN, 0.06, blocks=3)
        self.out = matrix(HIDDEN, HIDDEN, 0.015)
        self.gate_up = matrix(2 * MLP, HIDDEN, 0.06, blocks=2)
        self.down = matrix(HIDDEN, MLP, 0.015)

    def heads(self, x, rope):
        batch, length, _ = x.shape
        qkv = F.linear(F.rms_norm(x, (HIDDEN,), self.norm1, EPS), self.qkv)
        q, k, v = qkv.view(batch, length, 3, HEADS, HEAD_DIM).permute(2, 0, 3, 1, 4)
        return rotate(q, *rope) * HEAD_DIM**-0.5, rotate(k, *rope), v

    def finish(self, x, mixed):
        x = x + F.linear(mixed, self.out)
        gate, up = F.linear(F.rms_norm(x, (HIDDEN,), self.norm2, EPS), self.gate_up).chunk(2, dim=-1)
        return x + F.linear(F.silu(gate) * up, self.down)


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(VOCABULARY, HIDDEN) * 0.1)
        self.layers = nn.ModuleList([Layer() for _ in range(LAYERS)])
        self.norm = nn.Parameter(torch.ones(HIDDEN))
        self.head = nn.Parameter(torch.randn(VOCABULARY, HIDDEN) * 0.02)
        # Read-outs: training aids, thrown away afterwards.
        self.read_attributes = nn.Linear(HIDDEN, COLORS + SHAPES + 3 + 2 + 2)
        self.read_present = nn.Linear(HIDDEN, 2)
        self.read_number = nn.Linear(HIDDEN, 11)
        self.read_hop = nn.Linear(HIDDEN, 2)
        self.read_extreme = nn.Linear(HIDDEN, 8 + 8)
        self.read_pair = nn.Linear(HIDDEN, 5)  # left of, above, same colour, same shape, larger
        self.read_right = nn.Linear(HIDDEN, 2 + 4)  # right or not, its letter

    def load_state_dict(self, state, strict=True):
        """Also takes the state of a decoder that was trained before there were digits and options."""
        fresh, state = self.state_dict(), dict(state)
        for part in ("weight", "bias"):
            state.setdefault(f"read_right.{part}", fresh[f"read_right.{part}"])
            old, end = state[f"read_attributes.{part}"], COLORS + PLAIN_SHAPES
            if len(old) < len(fresh[f"read_attributes.{part}"]):
                digits = fresh[f"read_attributes.{part}"][end : COLORS + SHAPES]
                state[f"read_attributes.{part}"] = torch.cat([old[:end], digits, old[end:]])
        return super().load_state_dict(state, strict)

    @torch.no_grad()
    def wake(self, new: list[int], used: list[int]) -> None:
        """Gives words that were never an answer head rows to be told apart by: the mean of the used ones and a
        direction of their own.

        Rows that were never right have learned one large common direction that keeps them silent; from there, and
        from rows that are all alike, options stayed at chance though the last row held the letter.
        """
        mean = self.head[used].mean(0)
        others = torch.linalg.qr(self.head[used].T)[0][:, : HIDDEN // 2]
        own = torch.randn(len(new), HIDDEN, generator=torch.Generator().manual_seed(30))
        own = torch.linalg.qr((own - own @ others @ others.T).T)[0].T
        self.head[new] = mean + 0.8 * own

    def logits(self, x):
        return F.linear(F.rms_norm(x, (HIDDEN,), self.norm, EPS), self.head)

    def forward(self, prefix, visual, visual_positions, after, questions, cut=None):
        """prefix (P,) ids, visual (B, V, 128), visual_positions (B, V), questions (B, Q, T) ids.
        Positions count from the first visual token; the questions start at position `after`.

        Returns the states of the question rows (B, Q*T, 128) after every layer and, for the layers from LOOK on,
        their attention (B, heads, Q*T, P+V+T): first the context, then the question's own rows.
        cut, if given, maps the LOOK layer's attention (head mean, B, Q*T, V) to a mask of the visual tokens that a
        row still sees from that layer on.
        """
        batch, count, length = questions.shape
        rows, head = count * length, len(prefix)
        context = head + visual.shape[1]
        text = F.embedding(questions, self.embedding).view(batch, rows, HIDDEN)
        x = torch.cat([F.embedding(prefix, self.embedding).expand(batch, -1, -1), visual, text], dim=1)
        own = (torch.arange(length).repeat(count) + after + head).expand(batch, -1)
        positions = torch.cat([torch.arange(head).expand(batch, -1), visual_positions + head, own], dim=1)
        rope = rope_table(positions)
        causal = torch.full((context, context), float("-inf")).triu(1)
        own_causal = torch.full((length, length), float("-inf")).triu(1)
        hidden_tokens = None
        states, attentions = [], []
        for i, layer in enumerate(self.layers):
            q, k, v = layer.heads(x, rope)
            past_k, past_v = k[:, :, :context], v[:, :, :context]
            inner = (q[:, :, :context] @ past_k.transpose(-1, -2) + causal).softmax(-1) @ past_v
            if i in DECOY_LAYERS and self.training:  # the next picture of the batch
                past_k, past_v = (
                    torch.cat([t[:, :, :head], t[:, :, head:].roll(1, 0)], dim=2) for t in (past_k, past_v)
                )
            query = q[:, :, context:]
            outer = query @ past_k.transpose(-1, -2)
            own_shape = (batch, HEADS, count, length, HEAD_DIM)
            own_k, own_v = k[:, :, context:].reshape(own_shape), v[:, :, context:].reshape(own_shape)
            inside = query.reshape(own_shape) @ own_k.transpose(-1, -2) + own_causal
            scores = torch.cat([outer, inside.reshape(batch, HEADS, rows, length)], dim=-1)
            if i == LOOK and cut is not None:
                with torch.no_grad():
                    visible = cut(scores.softmax(-1)[..., head:context].mean(1))
                    hidden_tokens = torch.zeros(batch, 1, rows, context + length)
                    hidden_tokens[:, 0, :, head:context].masked_fill_(~visible, float("-inf"))
            if hidden_tokens is not None:
                scores = scores + hidden_tokens
            attention = scores.softmax(-1)
            own_attention = attention[..., context:].reshape(batch, HEADS, count, length, length)
            mixed = attention[..., :context] @ past_v + (own_attention @ own_v).reshape(batch, HEADS, rows, HEAD_DIM)
            mixed = torch.cat([inner, mixed], dim=2).transpose(1, 2).reshape(batch, context + rows, HIDDEN)
            x = layer.finish(x, mixed)
            states.append(x[:, context:])
            attentions.append(attention if i >= LOOK else None)
        return states, attentions
