"""Differences between weights and between logits."""

import torch

from report import Finding

# One rounding of float32, relative to the largest weight of a tensor: where a formula's order may differ.
ONE_ROUNDING = 2.0**-23


def compare_weights(
    ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor], rounding: float = ONE_ROUNDING, note: str = ""
) -> Finding:
    """The largest difference of any weight, in units of the largest magnitude in its tensor."""
    if ours.keys() != theirs.keys():
        only_ours, only_theirs = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
        raise ValueError(f"names differ: only adze has {only_ours[:4]}, only the peer has {only_theirs[:4]}")
    worst, where = 0.0, ""
    for name, weight in theirs.items():
        found = ours[name]
        if found.shape != weight.shape:
            raise ValueError(f"{name}: adze has {list(found.shape)}, the peer {list(weight.shape)}")
        difference = (found.double() - weight.double()).abs().max().item()
        difference /= max(weight.double().abs().max().item(), 1e-30)
        if not difference <= worst:
            worst, where = difference, name
    return Finding(worst, rounding, "; ".join(filter(None, [note, f"worst {where}" if where else ""])))


def compare_logits(ours: torch.Tensor, theirs: torch.Tensor, limit: float, note: str = "") -> Finding:
    """The largest difference of any logit in standard deviations of all logits; the note tells how often the likeliest
    is the same."""
    if ours.shape != theirs.shape:
        raise ValueError(f"shapes differ: adze {list(ours.shape)}, the peer {list(theirs.shape)}")
    ours, theirs = ours.double(), theirs.double()
    difference = ((ours - theirs).abs().max() / theirs.std()).item()
    agreement = (ours.argmax(-1) == theirs.argmax(-1)).double().mean().item()
    return Finding(difference, limit, "; ".join(filter(None, [note, f"top-1 {agreement:.1%}"])))
