"""Kaggle from the command line: datasets, the notebook, submissions and their scores.

`python -m devkit.kaggle --help` lists the commands. Every call goes through the official `kaggle`
client in `service`. `datasets` uploads what was built. `notebook` pushes it and follows its run.
`submissions` submits and waits for the score. An exit code of 0 means that the goal was reached.
"""
