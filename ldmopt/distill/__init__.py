"""Trials and confirmations in, a rulebook out: pure functions on records, no input or output."""
