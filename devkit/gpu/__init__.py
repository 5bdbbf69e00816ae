"""Run tests and benchmark on whatever machine has a GPU, bare and offline as it may be.

`machine` finds a Python whose torch sees a GPU. `missing` adds the few packages that it lacks, from
a folder of wheels that `gather` made. `steps` run the tests and the benchmark, and `report` says
what came of them. The check itself needs nothing but the standard library.
"""
