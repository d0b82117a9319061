"""Optimiser, wall-clock schedule, checkpoints and log shared by all stages.

Hidden matrices are trained with Muon (momentum, then the update is replaced by the nearest orthogonal matrix),
everything else (embeddings, norms, biases, heads) with AdamW. Both follow one schedule that is a function of the
share of the planned minutes that has passed, so that a stage ends on time however busy the machine is.
"""

import csv
import math
import os
import signal
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # quintic of K. Jordan's Muon: fast, singular values end in .7..1.2


def orthogonalise(matrices: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Nearest (semi-)orthogonal matrices of a stack (n, rows, columns) by Newton-Schulz iterations."""
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.transpose(1, 2) if tall else x


class Muon(torch.optim.Optimizer):
    """Muon for 2-D parameters. A fused matrix (qkv, gate+up) is orthogonalised in blocks: param.muon_blocks."""

    def __init__(self, params, lr: float, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            stacks: dict[tuple, list] = {}
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(p)
                buffer = state["momentum"].mul_(group["momentum"]).add_(p.grad)
                update = p.grad + group["momentum"] * buffer
                for block, target in zip(update.chunk(p.muon_blocks), p.data.chunk(p.muon_blocks)):
                    stacks.setdefault(tuple(block.shape), []).append((block, target))
            for (rows, columns), pairs in stacks.items():
                updates = orthogonalise(torch.stack([block for block, _ in pairs]))
                scale = group["lr"] * math.sqrt(max(1.0, rows / columns))
                for update, (_, target) in zip(updates, pairs):
                    target.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=scale)


def make_optimisers(model: torch.nn.Module, lr_muon: float, lr_adam: float, weight_decay: float = 0.02):
    """Muon for parameters marked with muon_blocks, AdamW for the rest; each group remembers its peak rate."""
    muon, adam = [], []
    for p in model.parameters():
        if p.requires_grad:
            (muon if hasattr(p, "muon_blocks") else adam).append(p)
    optimisers = []
    if muon:
        optimisers.append(Muon(muon, lr=lr_muon, weight_decay=weight_decay))
    if adam:
        optimisers.append(torch.optim.AdamW(adam, lr=lr_adam, betas=(0.9, 0.98), weight_decay=0.0))
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["peak"] = group["lr"]
    return optimisers


class Team:
    """Processes that train one model together, each on batches of its own: TEAM="rank/size" in the environment.

    Every step the gradients are averaged, and with them the clock, so that all see the same schedule.
    """

    def __init__(self, meeting: Path):
        rank, _, size = os.environ.get("TEAM", "0/1").partition("/")
        self.rank, self.size = int(rank), int(size)
        if self.size > 1:
            dist.init_process_group(
                "gloo", init_method=f"file://{meeting.absolute()}", rank=self.rank, world_size=self.size
            )

    def share(self, parameters, clock: float) -> float:
        """Averages the gradients in place and returns the mean of the clocks."""
        if self.size == 1:
            return clock
        parameters = [p for p in parameters if p.requires_grad]
        flat = [torch.tensor([clock])]
        flat += [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters]
        flat = torch.cat(flat)
        dist.all_reduce(flat)
        flat /= self.size
        at = 1
        for p in parameters:
            p.grad = flat[at : at + p.numel()].view_as(p)
            at += p.numel()
        return float(flat[0])


class Run:
    """One stage: clock, learning rate, checkpoint file and CSV log. Resumes from its own checkpoint if there is one."""

    def __init__(
        self,
        name: str,
        work: Path,
        minutes: float,
        model,
        optimisers,
        warmup: float = 0.03,
        floor: float = 0.03,
        save_every: float = 5.0,
    ):
        self.name, self.minutes, self.model, self.optimisers = name, minutes, model, optimisers
        self.warmup, self.floor, self.save_every = warmup, floor, save_every
        self.path = work / f"{name}.pt"
        self.log_path = work / f"{name}.csv"
        self.step, self.before, self.finished = 0, 0.0, False
        if self.path.exists():
            state = torch.load(self.path, weights_only=False)
            model.load_state_dict(state["model"])
            self.step, self.before, self.finished = state["step"], state["minutes"], state["finished"]
            if not self.finished:
                for optimiser, saved in zip(optimisers, state["optimisers"]):
                    peaks = [group["peak"] for group in optimiser.param_groups]
                    optimiser.load_state_dict(saved)
                    for group, peak in zip(optimiser.param_groups, peaks):  # a changed rate holds
                        group["peak"] = peak
        self.start = self.saved = time.time()
        self.team, self.clock = Team(work / f"{name}.team"), self.before
        self.stopping = False
        signal.signal(signal.SIGTERM, self.stop)

    def stop(self, *_) -> None:
        """SIGTERM: save after the step that is under way, then leave."""
        self.stopping = True

    @property
    def elapsed(self) -> float:
        return self.before + (time.time() - self.start) / 60

    @property
    def progress(self) -> float:
        return min(1.0, self.clock / self.minutes)

    def set_rate(self) -> float:
        p = self.progress
        if p < self.warmup:
            factor = (p + 1e-3) / (self.warmup + 1e-3)
        else:
            t = (p - self.warmup) / (1 - self.warmup)
            factor = self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * t))
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * factor
        return factor

    def update(self, loss: torch.Tensor, clip: float = 1.0) -> None:
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.clock = self.team.share(self.model.parameters(), self.elapsed)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip)
        self.set_rate()
        for optimiser in self.optimisers:
            optimiser.step()
        self.step += 1
        if self.stopping or (time.time() - self.saved) / 60 > self.save_every:
            self.save()
        if self.stopping:
            sys.exit(143)

    def done(self) -> bool:
        return self.finished or self.progress >= 1.0

    def save(self, finished: bool = False) -> None:
        self.saved = time.time()
        if self.team.rank > 0:
            return
        self.finished = self.finished or finished
        state = {
            "model": self.model.state_dict(),
            "step": self.step,
            "minutes": self.elapsed,
            "finished": self.finished,
            "optimisers": [o.state_dict() for o in self.optimisers],
        }
        temporary = self.path.with_suffix(".tmp")
        torch.save(state, temporary)
        os.replace(temporary, self.path)

    def log(self, **metrics) -> None:
        """The first process speaks for all."""
        if self.team.rank > 0:
            return
        text = " ".join(f"{key}={value:.4g}" for key, value in metrics.items())
        new = not self.log_path.exists()
        with self.log_path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["stage", "step", "minutes", "metrics"])
            writer.writerow([self.name, self.step, f"{self.elapsed:.1f}", text])
        print(f"{self.name} step {self.step} min {self.elapsed:.1f} {text}", flush=True)


class Meter:
    """Running sums of weighted means between two log lines."""

    def __init__(self):
        self.sums: dict[str, list[float]] = {}

    def add(self, key: str, value: float, weight: float = 1.0) -> None:
        entry = self.sums.setdefault(key, [0.0, 0.0])
        weight = float(torch.as_tensor(weight).detach())
        entry[0] += float(torch.as_tensor(value).detach()) * weight
        entry[1] += weight

    def take(self) -> dict[str, float]:
        means = {key: total / weight for key, (total, weight) in self.sums.items() if weight > 0}
        self.sums = {}
        return means
