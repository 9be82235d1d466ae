"""Balanced sets: estimates that are right on average in every decade."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from photoage.training.balance import DECADES, MOST, Balance, balance_groups
from photoage.training.dataset import Sample


def bias_of_decades(balanced: bool) -> dict[int, float]:
    """Mean errors of a line that learns ages from 20 to 79 of what hardly tells them, by decade."""
    rng = np.random.default_rng(0)
    ages = rng.uniform(20, 80, 4000)
    seen = torch.tensor((ages - 50) / 17 + rng.normal(0, 1, len(ages)), dtype=torch.float32)
    age = torch.tensor(ages, dtype=torch.float32)
    samples = [Sample(Path("a.jpg"), value, set="prints") for value in ages.tolist()]
    group = torch.from_numpy(balance_groups(samples, ("prints",) if balanced else ()))
    line, balance = nn.Linear(1, 1), Balance(1)
    nn.init.constant_(line.bias, 50.0)
    optimiser = torch.optim.Adam(line.parameters(), lr=0.05)
    for _ in range(1500):
        rows = torch.from_numpy(rng.integers(0, len(ages), 64))
        told = line(seen[rows, None]).squeeze(1)
        loss = F.smooth_l1_loss(told / 10, age[rows] / 10) + balance(told, age[rows], age[rows], group[rows])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    errors = (line(seen[:, None]).squeeze(1) - age).detach()
    return {decade: float(errors[(age // 10) == decade].mean()) for decade in range(2, 8)}


def test_a_balanced_set_is_drawn_to_the_middle_less() -> None:
    plain, balanced = bias_of_decades(balanced=False), bias_of_decades(balanced=True)
    assert plain[2] > 8, "the young come out too old"
    assert plain[7] < -8
    for decade in (2, 7):
        assert abs(balanced[decade]) < 0.6 * abs(plain[decade])


def test_groups_are_decades_of_the_balanced_sets() -> None:
    ages = [("a", 9.9), ("b", 10.0), ("c", 25.0), ("b", 116.0), ("b", 130.0)]
    samples = [Sample(Path(f"{age}.jpg"), age, set=name) for name, age in ages]
    assert balance_groups(samples, ("b", "a")).tolist() == [DECADES, 1, -1, 11, 11]
    assert balance_groups(samples, ()).tolist() == [-1] * 5


def test_prices_follow_the_errors_outside_of_what_labels_allow() -> None:
    balance = Balance(1)
    low, high = torch.tensor([20.0, 30.0, 40.0]), torch.tensor([29.0, 39.0, 49.0])
    group = torch.tensor([2, -1, 4])
    age = torch.tensor([25.0, 90.0, 39.0], requires_grad=True)
    for _ in range(200):
        paid = balance(age, low, high, group)
    assert balance.price[[2, 3]].tolist() == [0, 0], "inside its range; of no group"
    assert float(balance.error[4]) == pytest.approx(-1, abs=0.01)
    assert -MOST < float(balance.price[4]) < -0.1
    torch.autograd.backward(paid)
    assert age.grad is not None
    assert age.grad[[0, 1]].tolist() == [0, 0]
    assert float(age.grad[2]) == pytest.approx(float(balance.price[4]) / 10 / 3)
    for _ in range(2000):
        balance(age, low, high, group)
    assert float(balance.price[4]) == pytest.approx(-MOST)


def test_a_batch_without_balanced_faces_pays_nothing() -> None:
    zeros = torch.zeros(3, requires_grad=True)
    paid = Balance(1)(zeros, zeros, zeros, torch.full((3,), -1))
    torch.autograd.backward(paid)
    assert float(paid.detach()) == 0
