"""AdaNeg as its paper writes it: one dense memory, place by place, in float64."""

import torch
from torch import Tensor

from ants_engine.baselines.baseline import TextSpace


class DenseAdaNeg:
    """The whole memory (C + M, 1 + length, D), made for one space."""

    def __init__(self, space: TextSpace, length: int = 10, thres: float = 0.5, gap: float = 0.5) -> None:
        self.space, self.length, self.thres, self.gap = space, length, thres, gap
        self.classes = len(space.class_features)
        texts = torch.cat([space.class_features, space.negatives]).double()
        self.memory = torch.zeros(len(texts), 1 + length, texts.shape[1], dtype=torch.float64)
        self.memory[:, 0] = texts
        self.entropy = torch.zeros(len(texts), 1 + length, dtype=torch.float64)
        self.filled = [1] * len(texts)

    def logits(self, features: Tensor, texts: Tensor) -> Tensor:
        return features @ texts.T / self.space.temperature

    def grouped(self, logits: Tensor) -> Tensor:
        negatives = logits[:, self.classes :]
        if self.space.groups.order is not None:
            negatives = negatives[:, self.space.groups.order]
        masses = [
            torch.cat([logits[:, : self.classes], part], dim=1).softmax(dim=1)[:, : self.classes].sum(dim=1)
            for part in negatives.split(self.space.groups.sizes, dim=1)
        ]
        return torch.stack(masses).mean(dim=0)

    def put(self, label: int, feature: Tensor, probability: Tensor) -> None:
        entropy = -(probability * probability.log()).sum()
        if self.filled[label] < self.length:
            place = self.filled[label]
            self.filled[label] += 1
        elif bool((entropy < self.entropy[label]).any()):
            place = int(self.entropy[label].argmax())
        else:
            return
        self.memory[label, place] = feature
        self.entropy[label, place] = entropy

    def score(self, features: Tensor) -> tuple[Tensor, Tensor]:
        features = torch.nn.functional.normalize(features.double(), dim=1)
        by_text = self.logits(features, self.memory[:, 0])
        initial = self.grouped(by_text)
        for feature, logits, sure in zip(features, by_text, initial.tolist(), strict=True):
            ids, negatives = logits[: self.classes], logits[self.classes :]
            if sure > self.thres + self.gap * (1 - self.thres):
                self.put(int(ids.argmax()), feature, ids.softmax(dim=0))
            if sure < self.thres - self.gap * self.thres:
                self.put(self.classes + int(negatives.argmax()), feature, negatives.softmax(dim=0))
        proxies = torch.nn.functional.normalize(self.memory.mean(dim=1), dim=1)
        by_proxy = self.logits(features, proxies)
        votes = by_text.softmax(dim=1) + 0.1 * by_proxy.softmax(dim=1)
        return votes[:, : self.classes].argmax(dim=1), self.grouped(by_proxy) + 0.1 * initial
