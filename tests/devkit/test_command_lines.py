"""What all command lines have in common, whoever writes them."""

import functools
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from devkit.__main__ import COMMANDS
from devkit.arguments import Arguments

REPOSITORY = Path(__file__).resolve().parents[2]
# What takes more than a quarter of a second to import.
HEAVY = (
    *("torch", "pandas", "rasterio", "lightning", "pytorch_lightning", "geopandas", "numba"),
    *("scipy", "timm", "segmentation_models_pytorch", "torchvision", "cv2", "sklearn"),
    *("matplotlib", "kaggle", "nbformat", "papermill", "dask", "distributed", "onnxruntime"),
)
NO_FOLDER = "/nowhere/at-all"
# A command line, and a part of the line that it ends with.
WRONG: list[tuple[str, str]] = [
    ("train", "train failed: give RECIPE= (recipe)"),
    ("train hubmap --competion x --competition y", "Did you mean --competition. See make help-tr"),
    ("train hubmop --competition tests", "hubmop: there is no such training recipe"),
    ("train hubmap --competition tests --set epochz=3", "epochz"),
    (f"train hubmap --competition {NO_FOLDER}", f"{NO_FOLDER}: there is no such folder"),
    ("train hubmap --competition Makefile", "Makefile: found a file, wanted the folder"),
    ("train hubmap --competition tests --fold one", "FOLD= (--fold): found 'one', wanted a whole"),
    (f"folds hubmap --competition {NO_FOLDER}", f"{NO_FOLDER}: there is no such folder"),
    ("folds hubmap --competition tests --run roc", "there is no run roc"),
    (f"cuts hubmap --competition {NO_FOLDER}", f"{NO_FOLDER}: there is no such folder"),
    ("cuts hubmap --competition tests --files pgn", "Did you mean png"),
    (f"look --competition {NO_FOLDER}", f"{NO_FOLDER}: there is no such folder"),
    ("look --competition tests --recipe hubmop", "hubmop: there is no such recipe"),
    (
        f"predict hubmap --competition {NO_FOLDER} --models tests",
        f"{NO_FOLDER}: there is no such folder",
    ),
    ("predict hubmop --competition tests --models tests", "hubmop: there is no such recipe"),
    ("predict hubmap --competition tests --models tests --masks gif", "MASKS= (--masks)"),
    (
        f"engine hubmap --competition tests --models {NO_FOLDER}",
        f"{NO_FOLDER}: there is no such models folder",
    ),
    ("engine hubmop --competition tests --models tests", "hubmop: there is no such recipe"),
    ("train --name no-such-name", "no-such-name: there is no such competition of your own"),
    ("forget demoz --yes", "WHAT=demoz"),
    (f"runs {NO_FOLDER}", f"{NO_FOLDER}: there is no such models folder"),
    (f"tensorboard {NO_FOLDER}", f"{NO_FOLDER}: there is no such models folder"),
    ("validate hubmop --competition tests", "hubmop: there is no such training recipe"),
    ("validate hubmap --competition tests --set batsh=2", "batsh"),
    (
        f"validate hubmap --competition tests --models {NO_FOLDER}",
        f"{NO_FOLDER}: there is no such models folder",
    ),
    (f"tune hubmap --competition {NO_FOLDER}", f"{NO_FOLDER}: there is no such folder"),
    ("tune hubmap --competition tests --thresholds 5", "wanted three numbers"),
    (f"shift --competition {NO_FOLDER}", f"{NO_FOLDER}: there is no such folder"),
    ("dry-run --recipe hubmap", "found RECIPE without COMPETITION and MODELS"),
    ("dry-run --profile kaggle-py399", "there is no profile 'kaggle-py399'"),
    (
        f"dry-run --recipe hubmap --competition {NO_FOLDER} --models tests",
        f"{NO_FOLDER}: there is no such folder",
    ),
    ("dry-run --recipe hubmop --competition tests --models tests", "there is no such recipe"),
    (f"shell --models {NO_FOLDER}", f"{NO_FOLDER}: there is no such models folder"),
    ("kernel-dataset --profile kaggle-py399", "there is no profile 'kaggle-py399'"),
    (f"weights-dataset {NO_FOLDER}", f"{NO_FOLDER}: there is no such models folder"),
    ("weights-dataset --settings kaggle.toml", "give MODELS= (models)"),
    ("lint --profile kaggle-py399", "there is no profile 'kaggle-py399'"),
    (f"submit --file {NO_FOLDER}", f"{NO_FOLDER}: there is no such file"),
    (f"queue {NO_FOLDER}", f"{NO_FOLDER}: there is no such file"),
    ("push --notebok train", "found --notebok"),
    ("trian hubmap", "Did you mean train"),
]
RUN = """
import contextlib, io, json, sys
from devkit.__main__ import main

heavy, ended = sys.argv[1].split(), []
for line in json.loads(sys.argv[2]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(line.split())
        except SystemExit as end:
            code = end.code
    ended.append([code, out.getvalue(), err.getvalue(), [m for m in heavy if m in sys.modules]])
    for module in ended[-1][3]:  # only the command that imported it is to blame
        heavy.remove(module)
print(json.dumps(ended))
"""


def run(lines: list[str]) -> list[Any]:
    """Run commands one after the other in a process of their own.

    Of each come the exit code, both outputs, and the heavy modules that it imported.
    """
    with tempfile.TemporaryDirectory() as home:  # libraries make folders there
        done = subprocess.run(
            [sys.executable, "-c", RUN, " ".join(HEAVY), json.dumps(lines)],
            cwd=REPOSITORY,
            env={"PYTHONPATH": "kernel_src:.", "PATH": "", "HOME": home},
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
        )
    return list(json.loads(done.stdout))


@functools.cache
def helps() -> dict[str, Any]:
    return dict(zip(COMMANDS, run([f"{name} --help" for name in COMMANDS]), strict=True))


@functools.cache
def refusals() -> dict[str, Any]:
    lines = [line for line, _ in WRONG]
    return dict(zip(lines, run(lines), strict=True))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_imports_nothing_heavy(name: str) -> None:
    """It comes at once. Use `devkit.arguments`, and import what does the work after parsing."""
    code, out, _, heavy = helps()[name]
    assert not heavy, f"{name}: imports {heavy} before its arguments are parsed"
    assert code == 0
    assert out.startswith(f"make {name}"), "its parser is one of devkit.arguments"
    assert len(out.splitlines()) > 4


# A process in which torch cannot be imported.
READ = """
import sys
from pathlib import Path
sys.modules["torch"] = None
from devkit.kaggle.trained import note_weights
from devkit.training.runs import main
print(*note_weights(Path(sys.argv[1]), {"Unet_a": ["best"]}).files["Unet_a"])
sys.exit(main([sys.argv[1]]))
"""


def test_what_only_reads_run_folders_waits_for_no_torch(tmp_path: Path) -> None:
    """`make runs`, and what `make doctor` and `make push` look up, come without its import."""
    fold = tmp_path / "Unet_a/fold_0"
    fold.mkdir(parents=True)
    (fold / "e1_val_0.8.pth").touch()
    (fold / "e2_val_0.9.pth").touch()
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": "kernel_src:."},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("fold_0/e2_val_0.9.pth\n")


@pytest.mark.parametrize(("line", "said"), WRONG, ids=[line for line, _ in WRONG])
def test_what_is_wrong_is_said_in_one_line_and_at_once(line: str, said: str) -> None:
    """Nothing heavy is imported first. The exit code is 2 if the line is not understood, else 1."""
    code, out, err, heavy = refusals()[line]
    assert said in err
    assert err.count("\n") == 1
    assert not out
    assert not heavy, f"{line}: imports {heavy} before its arguments are checked"
    assert code == (2 if re.search(r"See (make help-|python -m )", err) else 1)


def makefile() -> str:
    return (REPOSITORY / "Makefile").read_text(encoding="utf-8")


def test_every_command_of_the_makefile_is_known_by_its_name() -> None:
    """`python -m devkit NAME`, and so `make help-NAME`, knows each target that it can."""
    targets = set(re.findall(r"^([a-z0-9-]+):.*##", makefile(), re.M))
    others = set(re.findall(r"^PLAIN := (.*)$", makefile(), re.M)[0].split())
    assert targets - set(COMMANDS) == others, "add it to COMMANDS in devkit/__main__.py"
    assert "make worker: workers of a scheduler" in planned("help-worker", really=True)
    assert set(COMMANDS) <= targets
    assert targets <= set(re.findall(r"\S+", makefile().partition(".PHONY: ")[2].splitlines()[0]))


def planned(name: str, *variables: str, within: str = "1", really: bool = False) -> str:
    """What make would run once all environments are made, what it prints, or why not.

    Below another make, all variables of that reach it.
    """
    made = re.findall(r"\.[\w/.-]+(?=\n|\))", makefile().partition("# A competition of")[0])
    return subprocess.run(
        ["make", *["-n"][really:], *(f"--old-file={file}" for file in made), name, *variables],
        cwd=REPOSITORY,
        env={**os.environ, "MAKEFLAGS": "", "MAKELEVEL": within},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=within == "1",
    ).stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_the_variables_that_help_names_reach_the_command(name: str) -> None:
    """What `make NAME VARIABLE=x` would run differs from what it runs without."""
    for variable in set(re.findall(r"\[([A-Z]+)=1?\]", helps()[name][1])):
        if variable == "OWN":  # it goes by the environment
            assert "export KERNELKIT_OWN := $(OWN)" in makefile()
        else:
            assert planned(name, f"{variable}=x-{variable}") != planned(name), variable


def test_the_words_behind_a_target_are_those_that_it_takes() -> None:
    """So what stands there can be held against what is given."""
    taken = {
        name: set(re.findall(r"\b([A-Z]+)=", words)) - {"OWN", "PYTHON"}
        for name, words in re.findall(r"^([a-z0-9-]+):.*## [^(\n]*(.*)$", makefile(), re.M)
    }
    every, flags = sorted(set().union(*taken.values())), re.findall(r"([A-Z]+)=1\b", makefile())
    for name, words in taken.items():
        given = [f"{word}=x-{word}-x" for word in every]
        others = ("MODELS=", "GPU=")  # if these are left out, OUTPUT and WORKERS count
        without = [one for one in given if not one.startswith(others)]
        line = planned(name, *given) + planned(name, *without)
        found = set(re.findall(r"x-([A-Z]+)-x", line))
        found |= {flag for flag in flags if f"--{flag.lower()}" in line.split()}
        assert words == found | {"FAST"} & words, name


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "train FOLDS=0",
            "make train takes no FOLDS=. It takes NAME= RECIPE= COMPETITION= OUTPUT=",
        ),
        ("clean NAME=cells", "make clean takes no NAME=. Leave it out"),
        ("look name=cells", "make look takes no name="),
    ],
)
def test_a_word_that_a_command_does_not_take_is_refused(line: str, said: str) -> None:
    """It was once passed over, so that all folds were trained."""
    assert said in planned(*line.split(), within="0")
    assert "takes no" not in planned("train", "NAME=cells", "OWN=code", "FOLD=0 1", within="0")


def test_the_list_of_targets_is_in_groups(capfd: pytest.CaptureFixture[str]) -> None:
    """`make` alone says what there is, a line each, in the order of the work."""
    subprocess.run(["make", "help"], cwd=REPOSITORY, check=True)
    lines = capfd.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    order = [line for line in lines if line and not line.startswith(" ")]
    assert order.index("beginning") < order.index("training") < order.index("Kaggle")


def test_a_default_is_shown_once_and_a_flag_has_its_value() -> None:
    """The help of an argument ends with the variable of make."""
    parser = Arguments("cook", "python -m cook")
    parser.add_argument("--salt", default=3, variable="SALT", help="grams")
    parser.add_argument("--boil", action="store_true", variable="BOIL", help="heat it")
    text = " ".join(parser.format_help().split())
    assert text.startswith("make cook SALT= BOIL= usage: python -m cook ")
    assert "--salt SALT grams (default: 3) [SALT=]" in text
    assert "--boil heat it [BOIL=1]" in text


def test_an_option_is_not_guessed_from_its_beginning(capsys: pytest.CaptureFixture[str]) -> None:
    """`--competitio` is a slip, not `--competition`."""
    parser = Arguments("cook", "python -m cook")
    parser.add_argument("--salt", variable="SALT", help="grams")
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--sal", "3"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "cook failed: found --sal 3, which is unknown. Did you mean --salt. See make help-cook\n"
    )


def test_every_command_can_be_imported() -> None:
    """Each has a main function that takes the arguments."""
    assert all(hasattr(importlib.import_module(module), "main") for module, *_ in COMMANDS.values())
