import os

# two test processes share two cores: torch and the numeric libraries take one each
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
