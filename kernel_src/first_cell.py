"""Start kernelkit from its dataset. Of what is mounted, nothing runs before it is verified."""

import hashlib
import json
import sys
import types
from pathlib import Path

wanted = globals().get("fingerprint", "")  # this and `inputs` are parameters of the notebook
mounts = Path(globals().get("inputs", "/kaggle/input")).absolute()
depths = ("*", "datasets/*/*", "notebooks/*/*", "models/*/*/*/*/*")  # a full search takes minutes
places = [f"{depth}{twice}/kernelkit-manifest.json" for depth in depths for twice in ("", "/*")]
sound, seen = {}, []
for path in (path for place in places for path in mounts.glob(place)):
    try:
        manifest = json.loads(path.read_bytes())
        listed = [{**entry, "why": ""} for entry in manifest["files"]]  # reasons are only read
        content = json.dumps([listed, manifest["target"]], sort_keys=True)
        known = hashlib.sha256(content.encode()).hexdigest()
        hashes = {entry["name"]: entry["sha256"] for entry in listed}
        code = {name: (path.parent / name).read_bytes() for name in ("mounted.py", "bootstrap.py")}
        changed = [n for n, text in code.items() if hashlib.sha256(text).hexdigest() != hashes[n]]
        if changed or manifest["fingerprint"] != known:
            seen.append(f"{path}, which was changed after it was made")
        elif known not in sound:
            seen.append(f"{known[:12]} at {path.parent}")
            sound[known] = (path, manifest, code)
    except Exception:  # whatever else has that name
        seen.append(f"{path}, which cannot be read or is not complete")
if not seen:
    raise RuntimeError(f"no kernelkit dataset in {mounts}. Add it to the notebook's inputs")
if wanted and wanted not in sound:
    advice = "Wait until its new version is ready and attach that, or push the notebook again"
    asked = f"this notebook wants the kernel dataset {wanted[:12]}, but mounted is"
    raise RuntimeError(f"{asked} {', '.join(seen)}. {advice}")
if not wanted and (len(seen) > 1 or not sound):
    advice = "Detach all but one, or give the notebook the fingerprint that it wants"
    several = "several kernel datasets are" if len(seen) > 1 else "no sound kernel dataset is"
    raise RuntimeError(f"{several} mounted ({', '.join(seen)}). {advice}")
if not wanted:
    print("no fingerprint is given, so the only kernel dataset that is mounted is trusted")
path, manifest, code = sound[wanted or next(iter(sound))]
for name, text in code.items():  # what runs are the very bytes that were hashed
    module = sys.modules[name.removesuffix(".py")] = types.ModuleType(name.removesuffix(".py"))
    exec(compile(text, str(path.parent / name), "exec"), vars(module))
kernelkit_dataset = module.start(path, manifest)
