"""Samplers by name, one file each: ``make(seed, space) -> optuna.samplers.BaseSampler``."""
