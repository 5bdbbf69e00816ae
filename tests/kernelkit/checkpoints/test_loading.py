"""Members load side by side, and are what they would be one by one."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from kernelkit.checkpoints import load_members
from kernelkit.checkpoints.networks import build, build_empty
from kernelkit.errors import CheckpointError
from tests.made.networks import (
    FPN,
    PIXELS,
    UNET,
    answer,
    checkpoint,
    network,
    write_fold,
    write_run,
)

# A classifier with buffers that are not saved.
SWIN = {
    "arch": "timm",
    "model_name": "swin_tiny_patch4_window7_224",
    "embed_dim": 24,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 1, 1, 1],
    "num_classes": 2,
    "img_size": 64,
    "window_size": 2,
}


def spoil(path: Path) -> None:
    """Make one of the last weights of a checkpoint no number."""
    content = torch.load(path, weights_only=False)
    content["model_state"] = {name: t.clone() for name, t in content["model_state"].items()}
    next(iter(content["model_state"].values())).view(-1)[0] = float("nan")
    torch.save(content, path)


def test_the_first_error_by_order_is_raised(tmp_path: Path) -> None:
    """A file that is found out late comes before one that is found out at once."""
    write_run(tmp_path / "a", FPN, seeds=(1, 2, 3))
    _, second, third = sorted((tmp_path / "a").rglob("*.pth"))
    spoil(second)
    third.write_bytes(third.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"fold_1/.* are not numbers"):
        load_members(tmp_path)


def test_an_error_while_building_waits_for_those_before_it(tmp_path: Path) -> None:
    """Networks are built before files are read, but a member before has the first word."""
    write_run(tmp_path / "a", FPN, seeds=(1,))
    write_run(tmp_path / "b", FPN, seeds=(2,))
    unknown = yaml.safe_dump({"MODEL": {**FPN, "encoder_name": "resnet999"}})
    (tmp_path / "b/cfg.yaml").write_text(unknown)
    with pytest.raises(CheckpointError, match="no network can be built"):
        load_members(tmp_path)
    [path] = (tmp_path / "a").rglob("*.pth")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"a/fold_0/.* truncated"):
        load_members(tmp_path)


@pytest.mark.parametrize("description", [UNET, FPN, SWIN], ids=["unet", "fpn", "buffers"])
def test_a_network_without_values_gets_all_of_them(
    tmp_path: Path, description: dict[str, Any]
) -> None:
    """Its answers, its names and its types are those of a network that was built with values."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        saved = build(description, "test")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/cfg.yaml").write_text(yaml.safe_dump({"MODEL": description}))
    torch.save(checkpoint(saved, ""), tmp_path / "run/e1.pth")
    [member] = load_members(tmp_path)
    assert torch.equal(answer(member.module, PIXELS), answer(saved, PIXELS))
    for own, wanted in zip(
        (*member.module.named_parameters(), *member.module.named_buffers()),
        (*saved.named_parameters(), *saved.named_buffers()),
        strict=True,
    ):
        assert (own[0], own[1].dtype, own[1].device.type) == (wanted[0], wanted[1].dtype, "cpu")


def test_what_is_not_in_the_state_is_never_without_values() -> None:
    """A network with buffers that are not saved is built with values, and others are not."""
    assert all(t.is_meta for t in build_empty(FPN, "test").state_dict().values())
    assert not any(buffer.is_meta for buffer in build_empty(SWIN, "test").buffers())


def test_weights_of_half_precision_become_single(tmp_path: Path) -> None:
    """A member computes in float32, whatever its file holds."""
    module = network(FPN, seed=1)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/cfg.yaml").write_text(yaml.safe_dump({"MODEL": FPN}))
    state = {n: t.half() if t.is_floating_point() else t for n, t in module.state_dict().items()}
    torch.save(state, tmp_path / "run/e1.pth")
    [member] = load_members(tmp_path)
    assert {parameter.dtype for parameter in member.module.parameters()} == {torch.float32}


def test_loading_draws_no_random_numbers_and_leaves_torch_as_it_was(tmp_path: Path) -> None:
    """Neither the generator nor the list of what may be unpickled is another one afterwards."""
    write_run(tmp_path / "run", FPN, seeds=(1, 2))
    before = torch.get_rng_state(), torch.serialization.get_safe_globals()
    load_members(tmp_path)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == torch.serialization.get_safe_globals()


def test_members_share_no_memory_with_each_other_or_with_files(tmp_path: Path) -> None:
    """A file that changes afterwards changes no member."""
    for seed in (1, 2):
        network(UNET, seed).save_pretrained(tmp_path / f"run/fold_{seed}")
    members = load_members(tmp_path)
    before = [answer(member.module, PIXELS) for member in members]
    for path in tmp_path.rglob("*.safetensors"):
        with path.open("r+b") as file:
            file.write(bytes(path.stat().st_size))
    places = {t.data_ptr() for m in members for t in m.module.state_dict().values()}
    assert len(places) == sum(len(member.module.state_dict()) for member in members)
    assert all(
        torch.equal(answer(member.module, PIXELS), wanted)
        for member, wanted in zip(members, before, strict=True)
    )


def test_members_and_megabytes_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bar is on standard error, and ends with what was read."""
    write_run(tmp_path / "run", UNET, seeds=(1,))
    write_fold(tmp_path / "run/fold_1", network(UNET, 2))
    load_members(tmp_path)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "members: 100%" in printed.err
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.pth"))
    assert f"{size / 1e6:.0f} MB" in printed.err
