"""The commands of evaluation. The work itself is done by `kernelkit.evaluation`."""
