"""Start kernelkit from its dataset, wherever it is mounted. Stop if it is not the one wanted."""

import sys
from pathlib import Path

mounts = Path(globals().get("inputs", "/kaggle/input"))
depths = ("*", "datasets/*/*", "notebooks/*/*", "models/*/*/*/*/*")  # a full search takes minutes
places = [f"{depth}{twice}/kernelkit-manifest.json" for depth in depths for twice in ("", "/*")]
found = [manifest for place in places for manifest in mounts.glob(place)]
if not found:
    raise FileNotFoundError(f"no kernelkit dataset in {mounts}. Add it to the notebook's inputs")
wanted = globals().get("fingerprint", "")  # both are parameters of the notebook
found.sort(key=lambda manifest: wanted not in manifest.read_text())
sys.path.insert(0, str(found[0].parent))
kernelkit_dataset = __import__("bootstrap").start(found, wanted)
