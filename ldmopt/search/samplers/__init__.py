"""Samplers by name, one file each: a file holds ``make(seed) -> optuna.samplers.BaseSampler``."""
