"""The commands of training. The work itself is done by `kernelkit.training`, as on Kaggle."""
