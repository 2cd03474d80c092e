"""Training's matrix products must equal the plain network, in value, gradient and running statistics."""

import copy

import pytest
import torch
from torch.nn import functional

from bids_cascade.cascade.rows import forward_rows

from .test_inference import NETWORKS, random_network


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("training", [True, False])
def test_rows_equal_the_network(name: str, training: bool) -> None:
    config = NETWORKS[name]
    plain = random_network(config).train(training)
    plain.dropout.p = 0.0
    rows = copy.deepcopy(plain)
    torch.manual_seed(0)
    patches = torch.randn(6, config.n_channels, *[config.patch_size] * 3)
    labels = torch.tensor([0, 1, 1, 0, 1, 0])
    expected, found = plain(patches), forward_rows(rows, patches)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for logits in (expected, found):
        functional.cross_entropy(logits, labels).backward()
    for (label, one), other in zip(plain.named_parameters(), rows.parameters(), strict=True):
        torch.testing.assert_close(
            other.grad, one.grad, rtol=1e-3, atol=2e-5, msg=lambda text, label=label: f"{label}: {text}"
        )
    for one, other in zip(plain.buffers(), rows.buffers(), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)


def test_a_scale_of_zero_or_below_zero() -> None:
    plain = random_network(NETWORKS["published"]).train()
    plain.dropout.p = 0.0
    with torch.no_grad():
        plain.blocks[0].norm.weight[:3] = torch.tensor([-1.0, 0.0, -0.2])
    rows = copy.deepcopy(plain)
    patches = torch.randn(8, 2, 11, 11, 11, generator=torch.Generator().manual_seed(1))
    expected, found = plain(patches), forward_rows(rows, patches)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for logits in (expected, found):
        logits.square().sum().backward()
    weight, other = plain.blocks[0].convolution.weight.grad, rows.blocks[0].convolution.weight.grad
    torch.testing.assert_close(other, weight, rtol=1e-3, atol=1e-4)
    assert torch.isfinite(rows.blocks[0].norm.weight.grad).all()


def test_dropout_is_applied_in_training_only() -> None:
    network, patches = random_network(NETWORKS["published"]), torch.randn(4, 2, 11, 11, 11)
    assert torch.equal(forward_rows(network, patches), forward_rows(network, patches))
    network.train()
    assert not torch.equal(forward_rows(network, patches), forward_rows(network, patches))
