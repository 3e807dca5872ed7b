"""What judges before there are labels: boosted trees, trained on ladders of known damage.

`default/` is the trained one; `python -m ldmopt.scorers.prior.train` made it.
"""
