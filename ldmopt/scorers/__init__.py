"""Judges of pictures.

- `encoders`: pictures to features; `statistics`: the weights-free part of them.
- `regressor`: the learned scorer, `Regressor.load(folder)`, and the one in the package.
- `taste`: folds human labels into a regressor.
- `ladders`, `generated`, `train`: how the one in the package was made.

Importing this package loads neither torch nor scikit-learn.
"""

from ldmopt.scorers.regressor import Regressor, default
from ldmopt.scorers.taste import fit

__all__ = ["Regressor", "default", "fit"]
