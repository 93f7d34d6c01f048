"""Iqbal et al. 2018: what the latent 2.5D maps are told, and the bone that their depth hangs on."""

import pytest
import torch

from handpose import processes
from handpose.experiments import PRESETS
from handpose.peers.iqbal import Latent, Latent25D


def test_the_cost_is_of_places_and_depths_and_the_bone_is_measured():
    """Off by 0.1 of the crop's side across and 0.3 in depth, over the mean length of the bone from wrist to index MCP."""
    networks, pose, picture = Latent25D(), torch.randn(4, 21, 3), torch.rand(4, 21, 3)
    networks.picture = lambda images: picture + torch.tensor([0.1, 0.0, 0.3])
    terms = Latent(networks, PRESETS["smoke"]).cost(None, pose, picture, 0)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx({"picture": 1.0, "depth": 0.3}, rel=1e-4)
    assert networks.seen == 4
    torch.testing.assert_close(networks.palm, (pose[:, 0] - pose[:, 5]).norm(dim=-1).mean())


def test_the_bone_is_the_mean_of_all_hands_seen():
    networks, hands = Latent25D(), torch.randn(12, 21, 3)
    for part in (hands[:4], hands[4:]):
        networks.measure(part)
    torch.testing.assert_close(networks.palm, (hands[:, 0] - hands[:, 5]).norm(dim=-1).mean())


def test_of_several_processes_each_measures_the_bone_of_all_hands(monkeypatch):
    networks, hands = Latent25D(), torch.randn(12, 21, 3)
    length = (hands[:, 0] - hands[:, 5]).norm(dim=-1)
    wholes = iter((length[:4].mean(), length[4:].mean()))
    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(processes, "mean", lambda own: next(wholes))  # what the other process adds
    for part in (hands[:2], hands[4:8]):
        networks.measure(part)
    assert networks.seen == 12
    torch.testing.assert_close(networks.palm, length.mean())
