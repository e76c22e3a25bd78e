"""Writes pytorch.json beside it: what PyTorch 2.15 gives, in float64, for what tests/conformance does not cover.

    python tests/optim/pytorch.py

PyTorch's Muon computes in bfloat16, whatever it is given: here it is made to stay in float64.
"""

import json
import pathlib

import torch
from torch.optim import lr_scheduler as lrs

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)


def muon(rows, columns, steps, **options):
    """A parameter, its gradients, and the parameter after each step."""
    to = torch.Tensor.to
    torch.Tensor.to = lambda self, *args, **kwargs: (
        self.clone() if kwargs.get("dtype") is torch.bfloat16 else to(self, *args, **kwargs)
    )
    param = torch.nn.Parameter(torch.randn(rows, columns).float().double())
    optimizer = torch.optim.Muon([param], **options)
    case = {"shape": [rows, columns], "options": options, "param": param.flatten().tolist(), "grads": [], "params": []}
    for _ in range(steps):
        param.grad = torch.randn(rows, columns).float().double()
        case["grads"].append(param.grad.flatten().tolist())
        optimizer.step()
        case["params"].append(param.flatten().tolist())
    torch.Tensor.to = to
    return case


def rates(make, steps=25, base=0.1):
    """The rate at the start and after each step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
    scheduler = make(optimizer)
    found = [optimizer.param_groups[0]["lr"]]
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        found.append(optimizer.param_groups[0]["lr"])
    return found


def plateau(metrics, **options):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = lrs.ReduceLROnPlateau(optimizer, **options)
    found = []
    for metric in metrics:
        scheduler.step(metric)
        found.append(optimizer.param_groups[0]["lr"])
    return {"options": options, "metrics": metrics, "rates": found}


METRICS = [3.0, 2.0, 2.0, 1.9999, 2.1, 2.2, 1.5, 1.6, 1.4999, 1.6, 1.6, 1.6, 1.6, 1.6, 1.2, 1.3, 1.3, 1.3, 1.3, 1.3]

fixtures = {
    "muon": [
        muon(3, 5, 3, lr=0.02, weight_decay=0.1, momentum=0.95),
        muon(6, 2, 3, lr=0.05, weight_decay=0.0, momentum=0.9, nesterov=False, ns_steps=3),
    ],
    "schedules": {
        "multi_step": rates(lambda o: lrs.MultiStepLR(o, [3, 4, 11], gamma=0.3)),
        "exponential": rates(lambda o: lrs.ExponentialLR(o, 0.9)),
        "polynomial": rates(lambda o: lrs.PolynomialLR(o, 12, power=2.5)),
        "restarts": rates(lambda o: lrs.CosineAnnealingWarmRestarts(o, 3, T_mult=2, eta_min=0.01)),
        "restarts_equal": rates(lambda o: lrs.CosineAnnealingWarmRestarts(o, 4)),
        "sequential": rates(
            lambda o: lrs.SequentialLR(
                o,
                [lrs.LinearLR(o, 0.1, 1.0, 5), lrs.ExponentialLR(o, 0.8), lrs.StepLR(o, 2, 0.5)],
                [5, 14],
            )
        ),
    },
    "plateau": [
        plateau(METRICS, factor=0.5, patience=2),
        plateau(METRICS, factor=0.1, patience=1, threshold=0.01, cooldown=2, min_lr=0.005),
    ],
}
path = pathlib.Path(__file__).with_suffix(".json")
path.write_text(json.dumps(fixtures, indent=1) + "\n")
