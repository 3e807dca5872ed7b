"""Two rulebooks beside each other: what they share, where they contradict, and both as one."""
