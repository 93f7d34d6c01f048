"""Where the backbone starts, and what is said when that can't be had."""

import subprocess
import sys
import urllib.error

import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.models import ResNet18_Weights, resnet18

from handpose import pretrained
from handpose.experiments import find_preset
from handpose.results import obtain
from handpose.runs import run_stage, run_stages

SMALL = "smoke+training=40+evaluation=12+disentangle_epochs=1"


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """A file as torchvision's, with other numbers."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("elsewhere") / "resnet18-f37072fd.pth"
    torch.save(resnet18().state_dict(), path)
    return path


@pytest.fixture
def offline(monkeypatch):
    def refuse(self, *arguments, **options):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", refuse)


def test_a_file_is_taken_in_whole_and_without_its_classifier(official, tmp_path):
    name = pretrained.take_in(official, tmp_path)
    kept = load_file(tmp_path / "weights" / f"{name}.safetensors")
    given = torch.load(official, weights_only=True)
    assert set(given) - set(kept) == {"fc.weight", "fc.bias"}
    assert all(torch.equal(kept[key], given[key]) for key in kept)
    assert [path.name for path in (tmp_path / "weights").iterdir()] == [f"{name}.safetensors"]


def test_training_starts_from_the_file_and_the_card_says_so(official, tmp_path):
    name = pretrained.take_in(official, tmp_path)
    preset = f"{SMALL}+weights={name}+learning_rate=1e-12"
    run = run_stage("disentangle", "baseline", preset, output_dir=tmp_path, progress=False, device="cpu")
    trained = run.state()["rgb_encoder.backbone.layer4.1.conv2.weight"]
    assert torch.allclose(trained, torch.load(official, weights_only=True)["layer4.1.conv2.weight"], atol=1e-6)
    assert run.card["weights"] == f"file {name}, SHA-256 {pretrained.content_digest(name, tmp_path)}"
    assert not (run.folder.parent / "weights").exists()


def test_another_file_under_the_same_name_is_another_run(official, tmp_path):
    name = pretrained.take_in(official, tmp_path)
    preset = f"{SMALL}+weights={name}"
    options = dict(output_dir=tmp_path, progress=False, device="cpu")
    first = run_stage("disentangle", "baseline", preset, **options)
    other = {key: value * 1.01 for key, value in resnet18().state_dict().items() if value.is_floating_point()}
    save_file(other | {k: v for k, v in resnet18().state_dict().items() if k not in other}, tmp_path / f"{name}.safetensors")
    pretrained.take_in(tmp_path / f"{name}.safetensors", tmp_path)
    second = run_stage("disentangle", "baseline", preset, **options)
    assert first.card["identity"] != second.card["identity"]


def test_the_run_card_of_a_result_leads_to_its_networks(tmp_path, monkeypatch):
    """Others of the same name may lie beside them."""
    result = obtain("D3", "warmup", preset=SMALL, output_dir=tmp_path, progress=False, device="cpu")
    monkeypatch.chdir(result.folder)
    assert pretrained.take_in("run.json", tmp_path) == result.folder.name == "warmup-seed0"
    kept, [stage] = load_file(tmp_path / "weights" / "warmup-seed0.safetensors"), (tmp_path / "stages").glob("warmup-*")
    assert torch.equal(kept["conv1.weight"], load_file(stage / "networks.safetensors")["rgb_encoder.backbone.conv1.weight"])
    (stage / "run.json").unlink()
    with pytest.raises(FileNotFoundError, match="the networks of this run are not on this machine"):
        pretrained.take_in(result.folder / "run.json", tmp_path)


def test_the_backbone_of_a_run_of_ours_is_taken(official, tmp_path):
    given = torch.load(official, weights_only=True)
    save_file({f"rgb_encoder.backbone.{key}": value for key, value in given.items() if not key.startswith("fc.")}
              | {"rgb_encoder.head.bias": torch.zeros(42)}, tmp_path / "networks.safetensors")  # fmt: skip
    assert pretrained.take_in(tmp_path / "networks.safetensors", tmp_path, "our hands") == "our-hands"
    kept = load_file(tmp_path / "weights" / "our-hands.safetensors")
    assert set(kept) == {key for key in given if not key.startswith("fc.")}
    assert torch.equal(kept["conv1.weight"], given["conv1.weight"])


@pytest.mark.parametrize("name", ["none", "imagenet", "warmup", "..", "//"])
def test_names_that_mean_something_else_are_refused(official, tmp_path, name):
    with pytest.raises(ValueError, match="can't be called"):
        pretrained.take_in(official, tmp_path, name)


def test_from_scratch_is_said(tmp_path):
    assert find_preset("paper+weights=none").weights is None
    run = run_stage("disentangle", "baseline", f"{SMALL}+weights=none", output_dir=tmp_path, progress=False, device="cpu")
    assert run.card["weights"] == "from scratch"


def test_a_warm_up_is_said_of_every_stage_after_it(tmp_path):
    warmup, run = run_stages("disentangle", "baseline", SMALL, output_dir=tmp_path, progress=False, device="cpu")
    assert warmup.card["weights"] == pretrained.started_from(warmup.card) == "from scratch"
    assert run.card["weights"] == pretrained.started_from(run.card) == "a warm-up on the training pictures"
    older = {key: value for key, value in run.card.items() if key != "weights"}
    assert pretrained.started_from(older) == "a warm-up on the training pictures"


def test_imagenet_weights_that_cannot_be_fetched_stop_in_one_line(offline, tmp_path):
    with pytest.raises(ValueError, match="no network") as caught:
        run_stage("disentangle", "baseline", f"{SMALL}+weights=imagenet", output_dir=tmp_path, progress=False, device="cpu")
    text = str(caught.value)
    assert "\n" not in text
    assert "python -m handpose.pretrained FILE" in text and "+weights=none" in text and "resnet18-f37072fd.pth" in text


def test_a_name_that_was_not_taken_in_stops_with_what_to_do(tmp_path):
    with pytest.raises(ValueError, match=r"there is no .*mine\.safetensors. Take a file in with `python -m handpose.pretrained FILE`"):
        pretrained.find("mine", tmp_path)


@pytest.mark.parametrize("text", ["../x", "/a/b.pth", "a/b", "", "$(ls)", "a b"])
def test_a_path_is_no_value_of_a_preset(text):
    with pytest.raises(ValueError, match="no path: take the file in with"):
        find_preset(f"paper+weights={text}")


class _Harm:
    def __reduce__(self):
        return (print, ("harm",))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda path: path.write_bytes(b"no weights"), "holds no ResNet-18"),
        (lambda path: torch.save({"conv1.weight": torch.zeros(3)}, path), "holds no ResNet-18"),
        (lambda path: torch.save(_Harm(), path), "holds no ResNet-18 .*no file of tensors alone"),
        (lambda path: path.mkdir(), "is a folder: give a file in it"),
        (lambda path: torch.save({k: v * torch.nan for k, v in resnet18().state_dict().items()}, path), "not finite"),
    ],
)
def test_what_is_no_resnet_is_refused_in_one_line(tmp_path, capsys, content, reason):
    path = tmp_path / "weights.pth"
    content(path)
    with pytest.raises((ValueError, FileNotFoundError), match=reason) as caught:
        pretrained.take_in(path, tmp_path)
    assert "\n" not in str(caught.value)
    assert "harm" not in capsys.readouterr().out
    assert not (tmp_path / "weights").exists()


def test_the_command_line_says_what_to_type_next(official, tmp_path):
    command = [sys.executable, "-m", "handpose.pretrained", official, "--output-dir", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "taken in; use it with PRESET=paper+weights=resnet18-f37072fd"
    command[3] = tmp_path / "none.pth"
    failed = subprocess.run(command, capture_output=True, text=True)
    assert failed.returncode == 1 and failed.stderr.startswith("error: ") and len(failed.stderr.splitlines()) == 1


def test_tensors_that_share_their_memory_are_taken_in(tmp_path):
    state = resnet18().state_dict()
    state["layer1.0.bn1.bias"] = state["bn1.bias"]
    state["layer1.0.bn1.weight"] = state["layer4.0.bn1.weight"][:64]
    torch.save(state, tmp_path / "shared.pth")
    kept = load_file(tmp_path / "weights" / f"{pretrained.take_in(tmp_path / 'shared.pth', tmp_path)}.safetensors")
    assert all(torch.equal(kept[key], value) for key, value in state.items() if not key.startswith("fc."))
