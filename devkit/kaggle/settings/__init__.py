"""The settings of the Kaggle side: one small file, `kaggle.toml`, and the environment over it.

The file says whose account it is and what things are called there. The environment overrides each
key: `KERNELKIT_OWNER` overrides `owner`, `KERNELKIT_ACCELERATOR` overrides `accelerator`, and so
on. A value that is not text is written as in TOML (`KERNELKIT_PARAMETERS='{workers = 4}'`). An
empty override counts.

A competition of one's own has such a file in its folder. There, what is not said has its name: the
recipe, the notebooks and the datasets. What is made lies in its folder of `build/`.
"""

from devkit.kaggle.settings.chosen import add_settings, chosen_file
from devkit.kaggle.settings.keys import SettingsKeys
from devkit.kaggle.settings.loading import SETTINGS_FILE, find_settings, load_settings
from devkit.kaggle.settings.sections import EngineSettings, TrainSettings, ValidationSettings
from devkit.kaggle.settings.settings import Settings

__all__ = [
    "SETTINGS_FILE",
    "EngineSettings",
    "Settings",
    "SettingsKeys",
    "TrainSettings",
    "ValidationSettings",
    "add_settings",
    "chosen_file",
    "find_settings",
    "load_settings",
]
