"""Judges of pictures.

- `encoders`: pictures to features: weights-free statistics, and any CLIP's image tower.
- `prior`: the judge before there are labels, and how it was trained.
- `preference`: the estimator that learns one utility from ratings and pairs.
- `taste`: from people's labels to a regressor, and the report of how well it knows them.
- `regressor`: prior and taste as one scorer, `Regressor.load(folder)`.
- `alignment`, `laion`: other judges; `exam`, `canaries`: what every judge must pass.

Importing this package loads neither torch nor scikit-learn.
"""

from ldmopt.scorers.regressor import Regressor, default
from ldmopt.scorers.taste.learning import fit

__all__ = ["Regressor", "default", "fit"]
