"""Kaggle from the command line: push the datasets and the notebook, follow the run, submit, score.

`python -m devkit.kaggle --help` lists the commands. All calls go through the official `kaggle`
client; this package reads what it answers, waits, resumes, and ends with an exit code that is 0
only where the goal was reached.
"""
