"""The host in a child process: a crash, a hang or an out-of-memory kills a trial, not the study.

``host`` is the parent's side, ``server`` forks ready children, ``worker`` is what runs inside one,
``wire`` is how they talk: JSON and raw PNG bytes, no pickles.
"""
