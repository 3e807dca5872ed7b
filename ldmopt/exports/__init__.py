"""What becomes of a rulebook outside: one file a format."""
