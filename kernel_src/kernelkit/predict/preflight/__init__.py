"""The preflight, before the first tile: what recipe, models, files and sample contradict.

`preflight` asks everything. `trained` compares with what the run folders say. `trial` shows the
networks what is going to come, and `submissions` looks at stores and variants.
"""
