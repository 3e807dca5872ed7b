"""Engines: one file a runtime; each loads pipelines inside the child process."""
