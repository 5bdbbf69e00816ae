"""What the speed of a run on large slides means for HuBMAP's test set."""

from pathlib import Path

from kernelkit.predict.report import Report

__all__ = ["HUBMAP_PUBLIC_MEGAPIXELS", "projection"]

# The five images of HuBMAP's public test set: 2659 tiles at core 1536.
HUBMAP_PUBLIC_MEGAPIXELS = 6040.0


def projection(report: Report, models: Path) -> str:
    """How long HuBMAP's public test set would take at the steady speed of a run, in words.

    Parameters
    ----------
    report
        The run's own report. It names the recipe and the device.
    models
        The folder of the models that ran.
    """
    names = ", ".join(sorted(path.name for path in models.iterdir() if path.is_dir()))
    return (
        f"HuBMAP's public test set ({HUBMAP_PUBLIC_MEGAPIXELS / 1000:.2f} Gpx) would take "
        f"{report.projected_hours(HUBMAP_PUBLIC_MEGAPIXELS):.1f} h at "
        f"{report.megapixels_per_second:.2f} Mpx/s: recipe {report.recipe}, models {names}, "
        f"on {report.device}"
    )
