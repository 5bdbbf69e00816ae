"""kernelkit: gigapixel segmentation inside an offline code-competition notebook."""

import os

__version__ = "0.1.0"

# The client of Hugging Face's hub reads them when a library that uses it is imported.
for _variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
    os.environ.setdefault(_variable, "1")
