"""Train the CLIP from nothing on renderings of all emoji.

Each step shows a batch of different emoji, each in one of the training styles, with one caption each (symmetric
contrastive loss). A second loss sorts the pictures by subgroup among captions that name a subgroup only. Most
steps drop half of the patches; the last steps see whole pictures. What is stored is the moving average of the weights.
"""

import argparse
import copy
import math
import os
import random
import time

import torch
from captions import KINDS, caption, caption_of_kind
from clip_model import SIDE, new_model, normalised, store
from open_clip import CLIP
from rendering import COLOUR_NAMES, MEDIUM, STRONG, Strength, chance, render
from sprites import TRAINING_STYLES, Sprites, load_sprites
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from words import CONTEXT, caption_words, clip_tokenizer
from workspace import WORK, WORLD

SEED = 20260
BATCH = 384
WARMUP = 150
PEAK = 1.2e-3
WEIGHT_DECAY = 0.1
AVERAGE = 0.998
KIND_WEIGHT = 0.25
PATCH_DROPOUT = 0.5
STRONG_STEPS = 600
"""The first steps, whose renderings stray furthest from the plain sprites."""
WHOLE = 0.1
"""The share of the steps, at the end, that sees whole pictures."""
MAX_SCALE = math.log(100)
LAST = WORK / "clip_last.pt"


class Batches:
    """Endless batches of pictures and captions, no emoji twice in one."""

    def __init__(self, sprites: Sprites, seed: int) -> None:
        self.sprites = sprites
        self.rng = torch.Generator().manual_seed(seed)
        self.words = random.Random(seed)
        self.waiting: list[int] = []
        self.side_bound = torch.tensor([one.has_side for one in sprites.emoji])

    def next(self, strength: Strength) -> tuple[list[int], Tensor, list[str]]:
        """The emoji of a batch, their pictures and their captions."""
        count = len(self.sprites.emoji)
        if len(self.waiting) < BATCH:
            self.waiting = torch.randperm(count, generator=self.rng).tolist()
        chosen, self.waiting = self.waiting[:BATCH], self.waiting[BATCH:]
        colour = torch.randint(len(COLOUR_NAMES), (BATCH,), generator=self.rng)
        style = torch.tensor(TRAINING_STYLES)[torch.randint(len(TRAINING_STYLES), (BATCH,), generator=self.rng)]
        mirror = chance(BATCH, 0.4, self.rng) & ~self.side_bound[chosen]
        pictures = render(self.sprites.pixels[style, chosen], colour, mirror, SIDE, strength, self.rng)
        texts = [
            caption(self.sprites.emoji[index], COLOUR_NAMES[tint], self.words)
            for index, tint in zip(chosen, colour.tolist(), strict=True)
        ]
        return chosen, normalised(pictures), texts


def rate(step: int, steps: int) -> float:
    """The learning rate of a step: a linear rise, then a cosine."""
    if step < WARMUP:
        return PEAK * (step + 1) / WARMUP
    return PEAK * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / max(1, steps - WARMUP))))


def optimiser_of(model: CLIP) -> torch.optim.AdamW:
    """AdamW that spares gains, biases and the temperature from weight decay."""
    decayed = [value for value in model.parameters() if value.ndim >= 2]
    spared = [value for value in model.parameters() if value.ndim < 2]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": spared, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=PEAK, betas=(0.9, 0.98), fused=True)


def train(steps: int, compiled: bool, save_every: int, first: int) -> None:
    """Train for a number of steps and store the model now and then.

    A run that was cut off goes on at step `first` from the weights that it stored last.
    """
    torch.manual_seed(SEED)
    torch.set_num_threads(os.cpu_count() or 1)
    sprites = load_sprites()
    tokenizer = clip_tokenizer(caption_words(sprites.emoji))
    model = new_model(len(tokenizer), PATCH_DROPOUT)
    if first > 1:
        model.load_state_dict(torch.load(LAST, weights_only=True))
    average = copy.deepcopy(model).eval()
    optimiser = optimiser_of(model)
    batches = Batches(sprites, SEED + first - 1)
    words = random.Random(SEED + first - 1)
    kinds = list(KINDS)
    member = {kind: [one for one in sprites.emoji if one.subgroup == kind] for kind in kinds}
    kinds = [kind for kind in kinds if member[kind]]
    target = torch.tensor([kinds.index(one.subgroup) for one in sprites.emoji])

    def encoded(texts: list[str]) -> Tensor:
        found = tokenizer(texts, padding="max_length", truncation=True, max_length=CONTEXT, return_tensors="pt")
        return torch.as_tensor(found["input_ids"])

    run = torch.compile(model) if compiled else model
    start = time.monotonic()
    for step in range(first, steps + 1):
        if step > (1 - WHOLE) * steps:
            model.visual.patch_dropout.prob = 0.0
        chosen, pictures, texts = batches.next(STRONG if step <= STRONG_STEPS else MEDIUM)
        of_kind = [caption_of_kind(words.choice(member[kind]), words) for kind in kinds]
        for group in optimiser.param_groups:
            group["lr"] = rate(step - 1, steps) * min(1.0, (step - first + 1) / 40)
        with sdpa_kernel(SDPBackend.MATH):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                image, text, scale = run(pictures, encoded(texts + of_kind))
            image, text = image.float(), text.float()
            logits = scale * image @ text.T
            own = torch.arange(BATCH)
            loss = (
                functional.cross_entropy(logits[:, :BATCH], own) + functional.cross_entropy(logits[:, :BATCH].T, own)
            ) / 2
            sorting = functional.cross_entropy(logits[:, BATCH:], target[chosen])
            torch.autograd.backward(loss + KIND_WEIGHT * sorting)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        with torch.no_grad():
            model.logit_scale.clamp_(0, MAX_SCALE)
            weight = min(AVERAGE, (step - first + 1) / (step - first + 10))
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - weight)
        if step % 20 == 0:
            right = (logits[:, :BATCH].argmax(1) == own).float().mean().item()
            print(
                f"{step}/{steps} {(time.monotonic() - start) / 60:.1f} min loss {loss.item():.3f} "
                f"kind {sorting.item():.3f} right {right:.3f} scale {scale.item():.1f}",
                flush=True,
            )
        if step % save_every == 0 or step == steps:
            store(average, tokenizer, WORLD / "clip")
            torch.save(model.state_dict(), LAST)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--save-every", type=int, default=100)
    parser.add_argument("--first", type=int, default=1, help="the step at which a run that was cut off goes on")
    parser.add_argument("--no-compile", dest="compiled", action="store_false")
    options = parser.parse_args()
    train(options.steps, options.compiled, options.save_every, options.first)
