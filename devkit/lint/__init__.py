"""Whether what goes to Kaggle would import, parse and stay within bounds on the image."""

from devkit.lint.check import KERNEL_SOURCE, NOTEBOOKS, Finding, kernel_files, lint, outside_modules

__all__ = ["KERNEL_SOURCE", "NOTEBOOKS", "Finding", "kernel_files", "lint", "outside_modules"]
