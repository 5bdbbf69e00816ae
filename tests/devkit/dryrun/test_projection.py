from pathlib import Path

from devkit.dryrun.projection import projection
from kernelkit.predict.report import ImageReport, Report


def test_a_projection_names_what_ran_and_on_which_device(tmp_path: Path) -> None:
    """It quotes the run's own report, whatever machine reads it, and only what was predicted."""
    for name in ("unet", "fpn"):
        (tmp_path / "models" / name).mkdir(parents=True)
    images = [
        ImageReport("a", height=1000, width=3000, seconds=6.0),
        ImageReport("b", height=9000, width=9000, seconds=0.1, status="kept"),
    ]
    Report("hubmap", device="Tesla T4", images=images).save(tmp_path / "speed.json")
    assert projection(Report.load(tmp_path / "speed.json"), tmp_path / "models") == (
        "HuBMAP's public test set (6.04 Gpx) would take 3.4 h at 0.50 Mpx/s: "
        "recipe hubmap, models fpn, unet, on Tesla T4"
    )
