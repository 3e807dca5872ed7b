"""A study: its TOML, its run folder, the bench that measures, and the stages it goes through."""
