"""BoTorch's qLogNEHVI behind Optuna's sampler interface: the strongest outside baseline here.

Ament et al. 2023, "Unexpected Improvements to Expected Improvement for Bayesian Optimization".
Needs ``pip install ldmopt[baselines]``; slow with three objectives: minutes for a hundred trials.
"""

from __future__ import annotations

import optuna
import torch


def candidates(
    train_x: torch.Tensor, train_obj: torch.Tensor, train_con: torch.Tensor | None,
    bounds: torch.Tensor, pending_x: torch.Tensor | None,
) -> torch.Tensor:
    """Return the next point `(1, d)`; `BoTorchSampler` tells objectives as maximised."""
    from botorch.acquisition.multi_objective.logei import (
        qLogNoisyExpectedHypervolumeImprovement,
    )
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from botorch.models.transforms import Standardize
    from botorch.optim import optimize_acqf
    from botorch.sampling.normal import SobolQMCNormalSampler
    from botorch.utils.transforms import normalize, unnormalize
    from gpytorch.mlls import ExactMarginalLogLikelihood

    unit = normalize(train_x, bounds=bounds)
    model = SingleTaskGP(unit, train_obj,
                         outcome_transform=Standardize(m=train_obj.shape[-1]))
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    worst, best = train_obj.min(dim=0).values, train_obj.max(dim=0).values
    acquisition = qLogNoisyExpectedHypervolumeImprovement(
        model=model, ref_point=(worst - 0.1 * (best - worst)).tolist(), X_baseline=unit,
        sampler=SobolQMCNormalSampler(torch.Size([64])), prune_baseline=True, X_pending=pending_x)
    standard = torch.zeros_like(bounds)
    standard[1] = 1
    found, _ = optimize_acqf(acquisition, bounds=standard, q=1, num_restarts=4, raw_samples=128,
                             options={"batch_limit": 4, "maxiter": 50})
    return unnormalize(found.detach(), bounds=bounds)


def make(seed: int) -> optuna.samplers.BaseSampler:
    """Return the sampler, seeded."""
    from optuna_integration import BoTorchSampler

    return BoTorchSampler(candidates_func=candidates, n_startup_trials=10, seed=seed)
