"""One utility from ratings and pairs: the model, its feature maps, and how far labels may lead.

`estimator` is the scikit-learn estimator; `utility` applies what it learned, with numpy alone.
"""
