"""Networks that are code of the user's own: from a run folder to a member that answers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from kernelkit.checkpoints import Member, load_members
from kernelkit.own import load_own
from tests.made.networks import PIXELS, answer, write_fold
from tests.made.own import MODEL, PACKAGE, session_with, write_own

NAME = f"{PACKAGE}.model:Net"
# A layer that takes masks of 96 x 96 only.
AT = "AT = nn.Sequential(nn.LayerNorm(96 * 96), nn.Unflatten(1, (1, 96, 96)))\n\n\n"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    """A session with the package of the tests."""
    folder = write_own(tmp_path / "own")
    with session_with(folder):
        yield folder


def make(**arguments: Any) -> nn.Module:
    """The network as its training code makes it, with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return load_own(NAME)(**arguments).eval()


def load(tmp_path: Path, module: nn.Module, **described: Any) -> Member:
    """The member of a run folder of this network."""
    run = tmp_path / "models/run"
    write_fold(run / "fold_0/models", module)
    (run / "cfg.yaml").write_text(yaml.safe_dump({"MODEL": {"network": NAME, **described}}))
    [member] = load_members(run.parent)
    return member


@pytest.mark.usefixtures("own")
def test_the_class_is_made_with_its_arguments_and_gets_its_weights(tmp_path):
    """It answers, bit for bit, as the network that was saved."""
    module = make(in_channels=3, classes=2, width=6)
    member = load(tmp_path, module, width=6, classes=2)
    assert torch.equal(answer(member.module, PIXELS), answer(module, PIXELS))
    assert (member.kind, member.channels, member.classes) == ("segmenter", 3, 2)
    assert member.architecture == NAME
    assert member.size is None
    assert member.notes == ()


def test_what_the_class_does_not_take_is_not_passed_on(own, tmp_path):
    """The numbers of channels and classes may stand in MODEL all the same."""
    write_own(own, "from torch import nn\nclass Net(nn.Conv2d):\n"
        "    def __init__(self):\n        super().__init__(2, 3, 1)\n")  # fmt: skip
    member = load(tmp_path, make(), in_channels=2, classes=3)
    assert (member.channels, member.classes) == (2, 3)


def test_channels_and_classes_are_found_out_by_asking(own, tmp_path):
    """If nobody says how many bands a network takes, the likely numbers are tried."""
    write_own(own, "from torch import nn\nclass Net(nn.Conv2d):\n"
        "    def __init__(self):\n        super().__init__(4, 5, 1)\n")  # fmt: skip
    member = load(tmp_path, make())
    assert (member.channels, member.classes) == (4, 5)


def test_probabilities_become_logits(own, tmp_path):
    """A network that ends in a sigmoid is taken for what it is, with a note."""
    write_own(own, MODEL.replace("self.head(self.body(x))", "self.head(self.body(x)).sigmoid()"))
    module = make()
    member = load(tmp_path, module)
    assert "answers lie between 0 and 1" in member.notes[0]
    wanted = answer(module, PIXELS)
    assert torch.allclose(answer(member.module, PIXELS).sigmoid(), wanted, atol=1e-6)
    assert set(member.module.state_dict()) == set(module.state_dict())


def test_a_network_that_answers_with_labels_is_a_classifier(own, tmp_path):
    """So it can be a gate."""
    write_own(own, MODEL.replace("self.head(self.body(x))", "self.head(self.body(x)).mean((2, 3))"))
    member = load(tmp_path, make(classes=2), classes=2)
    assert (member.kind, member.classes) == ("classifier", 2)


def test_a_network_of_one_size_says_so(own, tmp_path):
    """Networks with learned positions take no other size."""
    code = MODEL.replace("self.head(self.body(x))", "self.at(self.head(self.body(x)).flatten(1))")
    code = code.replace("super().__init__()", "super().__init__()\n        self.at = AT")
    write_own(own, code.replace("class Net", AT + "class Net"))
    assert load(tmp_path, make()).size == (96, 96)


def test_another_code_is_another_network(own, tmp_path):
    """Finished masks are not taken if a file of the package changed."""
    first = load(tmp_path, make())
    (own / PACKAGE / "parts.py").write_text((own / PACKAGE / "parts.py").read_text() + "\n")
    [second] = load_members(tmp_path / "models")
    assert first.weights_sha256 != second.weights_sha256


@pytest.mark.usefixtures("own")
def test_its_weights_may_be_safetensors(tmp_path):
    """As the weights' dataset packs them."""
    module = make()
    member = load(tmp_path, module)
    for path in (tmp_path / "models/run/fold_0/models").iterdir():
        path.unlink()
    save_file(module.state_dict(), tmp_path / "models/run/fold_0/models/e1.safetensors")
    [again] = load_members(tmp_path / "models")
    assert again.weights_sha256 == member.weights_sha256
