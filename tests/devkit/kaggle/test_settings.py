import tomllib
from pathlib import Path

import pytest

from devkit.errors import SettingsError
from devkit.kaggle.settings import SETTINGS_FILE, Settings, load_settings
from kernelkit.recipe import Recipe


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kaggle.toml"


def test_the_committed_settings_are_the_defaults() -> None:
    """The committed file names no owner, and changes nothing."""
    content = tomllib.loads(SETTINGS_FILE.read_text(encoding="utf-8"))
    assert Settings.model_validate(content) == Settings()


def test_without_a_file_the_defaults_hold(path: Path) -> None:
    """The competition is the recipe's, and paths are relative to the file's folder."""
    settings = load_settings(path, {})
    assert settings.competition == Recipe.load(settings.recipe).competition.slug
    assert settings.dataset == "kernelkit-kaggle-py312"
    assert settings.dataset_folder == path.parent / "build/kernel-kaggle-py312"
    assert settings.state == Path("~/.cache/kernelkit").expanduser()


OVERRIDES = {
    "owner": "bob",
    "kernel": "my-kernel",
    "title": "Kernelkit inference",
    "dataset": "my-code",
    "weights": "",
    "recipe": "nuclei",
    "competition": "another",
    "profile": "kaggle-py313",
    "pinning": "latest",
    "docker_image": "an-image",
    "accelerator": "",
    "datasets": "['carol/more']",
    "models": "['bob/net/pytorch/big/3']",
    "kernels": "['bob/tools']",
    "parameters": "{workers = 4, strict = true}",
    "notebook": "mine.ipynb",
    "dataset_folder": "/elsewhere/{profile}",
    "weights_folder": "w",
    "kernel_folder": "k",
    "output_folder": "o",
    "ledger": "l.jsonl",
    "state": "~/s",
    "own": "my-code",
    "train": "{kernel = 'my-training', hours = 5}",
    "validation": "{kernel = 'my-validation', hours = 2}",
    "engine": "{kernel = 'my-engine', hours = 1}",
    **dict.fromkeys(
        ("poll_seconds", "answer_seconds", "patience_seconds", "upload_seconds", "ready_seconds"),
        "0.5",
    ),
    **dict.fromkeys(("kernel_seconds", "score_seconds", "settle_seconds"), "7"),
}


@pytest.mark.parametrize(("key", "text"), OVERRIDES.items(), ids=list(OVERRIDES))
def test_the_environment_overrides_each_key(path: Path, key: str, text: str) -> None:
    """Text is taken as it is, all else as TOML. The other keys stay what they were."""
    before = dict(load_settings(path, {}))
    after = dict(load_settings(path, {f"KERNELKIT_{key.upper()}": text}))
    assert after[key] != before[key]
    follow = {"recipe": {"competition"}, "profile": {"dataset", "dataset_folder"}}
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {key} | follow.get(key, set())


def test_no_key_is_left_out_of_the_overrides() -> None:
    """A new setting gets its place in the test above."""
    assert set(OVERRIDES) == set(Settings.model_fields)


def test_the_environment_goes_over_the_file(path: Path) -> None:
    """The file holds what the environment does not name."""
    path.write_text('owner = "alice"\nkernel = "from-the-file"\n')
    environment = {"KERNELKIT_OWNER": "bob", "KERNELKIT_PARAMETERS": "{workers = 4}"}
    settings = load_settings(path, environment)
    assert (settings.owner, settings.kernel) == ("bob", "from-the-file")
    assert settings.parameters == {"workers": 4}


def test_an_override_that_is_no_toml_is_named(path: Path) -> None:
    """The message has the variable, its value, and what would do."""
    with pytest.raises(SettingsError, match=r"KERNELKIT_DATASETS: 'a/b' is not a TOML value"):
        load_settings(path, {"KERNELKIT_DATASETS": "a/b"})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("owner =", "it is not valid TOML"),
        ('onwer = "alice"', "the key onwer does not exist. The keys are owner, kernel"),
        ('owner = "Al Ice"', "owner: found 'Al Ice', wanted a user name as in its address"),
        ("[train]\nhuors = 5", "the key train.huors does not exist. The keys are kernel, title"),
        ("[train]\nhours = 13", "train.hours: found 13, wanted 12 or less"),
        ('[train]\nkernel = "kernelkit-inference"', "found the kernel 'kernelkit-inference' twice"),
        ('[train]\ntitle = "Mine"', "becomes the slug 'mine' on Kaggle, but kernel is 'kernelk"),
        ('kernel = "abc"', "kernel: found 'abc', wanted 5 to 50 small letters and digits"),
        ("poll_seconds = 0", "poll_seconds: found 0, wanted more than 0"),
        ("poll_seconds = inf", "poll_seconds: found inf, wanted a finite number"),
        ("poll_seconds = 1e300", "poll_seconds: found 1e+300, wanted 2592000 or less"),
        ('poll_seconds = "soon"', "poll_seconds: found 'soon', wanted a number"),
        ("settle_seconds = -1", "settle_seconds: found -1, wanted 0 or more"),
        ("owner = 5", "owner: found 5, wanted text in quotes"),
        ('datasets = "a/b"', "datasets: found 'a/b', wanted a list in brackets"),
        ("parameters = 4", "parameters: found 4, wanted a table, such as {workers = 4}"),
        ("parameters = {a = [1]}", "parameters.a: found [1], wanted text, a finite number"),
        ("parameters = {a = nan}", "parameters.a: found nan, wanted text, a finite number"),
        ('pinning = "newest"', "pinning: found 'newest', wanted 'original' or 'latest'"),
        ("ledger = 5", "ledger: found 5, wanted a path in quotes"),
        ('ledger = "~nobody-of-that-name/a"', "ledger: found '~nobody-of-that-name/a', and this"),
        ('ledger = "a\\u0000b"', "ledger: found 'a\\x00b', wanted a path"),
        ('recipe = "nothing"', "found the recipe 'nothing', which does not travel to Kaggle"),
        ('title = "Another title"', "becomes the slug 'another-title' on Kaggle"),
        ('profile = "mine"', "the profile 'mine' needs a pinning"),
        ('models = ["bob/net"]', "models.0: found 'bob/net', wanted owner/model/framework/"),
        ("a = " + "[" * 5000, "its values are nested too deep"),
    ],
)
def test_a_wrong_setting_is_one_sentence_with_the_file(path: Path, text: str, found: str) -> None:
    """The message has the key, what was found, and what was wanted."""
    path.write_text(f"{text}\n")
    with pytest.raises(SettingsError) as caught:
        load_settings(path, {})
    assert str(path) in str(caught.value)
    assert found in str(caught.value)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('owner = "alice"'.encode("utf-16"), "not text in UTF-8 (byte 0xff at 0). Save it as"),
        (b"\x00\x80\xff", "not text in UTF-8 (byte 0x80 at 1)"),
        (b"\x00\x01", "it is not valid TOML"),
    ],
)
def test_a_file_that_is_no_text_is_refused(path: Path, content: bytes, found: str) -> None:
    """It says how to save it."""
    path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load_settings(path, {})
    assert found in str(caught.value)


def test_a_byte_order_mark_is_read_over(path: Path) -> None:
    """Some editors begin a file in UTF-8 with one."""
    path.write_bytes(b'\xef\xbb\xbfowner = "alice"\n')
    assert load_settings(path, {}).owner == "alice"


def test_a_folder_instead_of_the_file_is_refused(path: Path) -> None:
    """It is not taken for a missing file."""
    path.mkdir()
    with pytest.raises(SettingsError, match=r"kaggle.toml: it cannot be read \(Is a directory\)"):
        load_settings(path, {})


@pytest.mark.parametrize(
    ("profile", "pinning"), [("kaggle-py312", "original"), ("kaggle-py313", "latest")]
)
def test_the_pinning_follows_the_profile(path: Path, profile: str, pinning: str) -> None:
    """The newest image is that of py313. That of py312 has to be pinned."""
    assert load_settings(path, {"KERNELKIT_PROFILE": profile}).image_pinning == pinning


def test_the_training_notebook_has_names_and_sources_of_its_own(path: Path) -> None:
    """It needs no weights, and shares the dataset of the code."""
    path.write_text('accelerator = ""\n[train]\nhours = 5\ndatasets = ["a/b"]\n')
    settings = load_settings(path, {})
    training = settings.for_notebook("train")
    assert (training.kernel, training.session_hours) == ("kernelkit-train", 5)
    assert (training.weights, training.accelerator) == ("", "NvidiaTeslaT4")
    assert training.datasets == ("a/b",)
    assert training.notebook == settings.notebook.with_name("train.ipynb")
    assert training.kernel_folder != settings.kernel_folder
    assert training.dataset == settings.dataset
    assert settings.for_notebook("inference") == settings
    assert settings.session_hours == Recipe.load("hubmap").hours


@pytest.mark.parametrize(
    ("content", "notebook", "found"),
    [
        (
            "",
            "other",
            "found the notebook 'other', wanted inference, train, validate, engine. Correct",
        ),
        (
            'recipe = "nuclei"',
            "train",
            "the training recipe 'nuclei', which does not .* Set recipe in",
        ),
        ('[validation]\nrecipe = "none"', "validate", "Set recipe in the section validation of"),
        ('[train]\nrecipe = "none"', "train", "the training recipe 'none', .* clouds, hubmap"),
        ('[engine]\nrecipe = "none"', "engine", "the recipe 'none', .* section engine of kaggle"),
    ],
)
def test_a_notebook_that_is_not_there_is_refused(
    path: Path, content: str, notebook: str, found: str
) -> None:
    """So is a recipe that would not travel to Kaggle."""
    path.write_text(content)
    with pytest.raises(SettingsError, match=found):
        load_settings(path, {}).for_notebook(notebook)


@pytest.mark.parametrize(
    ("variable", "text"),
    [("KERNELKIT_PINNING", "no"), ("KERNELKIT_TRAIN", "{hours = 13}"), ("KERNELKIT_OWNER", "A B")],
)
def test_a_wrong_value_of_the_environment_is_not_blamed_on_the_file(
    path: Path, variable: str, text: str
) -> None:
    """The error names the variable."""
    path.write_text('owner = "alice"\n')
    with pytest.raises(SettingsError, match=f"^{variable}: "):
        load_settings(path, {variable: text})


def test_code_that_the_environment_names_lies_where_one_stands(path: Path) -> None:
    """As it does for whatever loads it. In the file, it lies beside the file."""
    path.write_text('own = "code"\n')
    assert load_settings(path, {}).own == str(path.parent / "code")
    assert load_settings(path, {"KERNELKIT_OWN": "code"}).own == str(Path.cwd() / "code")
