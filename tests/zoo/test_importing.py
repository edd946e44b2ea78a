"""Published checkpoints become models: every network, every form, the same function."""

import pytest
import torch

from ledcli.errors import ModelError, UsageError
from ledcli.nets.network import recognise
from ledcli.zoo.folding import fold, network_inputs, prove
from ledcli.zoo.importing import import_checkpoint
from ledcli.zoo.model_file import load_model, save_model
from ledcli.zoo.store import install_model
from tests.nets import published
from tests.zoo import checkpoints
from tests.zoo.checkpoints import DEPLOYED_NAME, PLAIN, PRETRAINED_NAME, save, unet

ARCHITECTURES = ("unet", "nafnet", "restormer")


def shapes_of(tensors):
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def network(imported, tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(path, imported.spec, imported.tensors)
    return load_model(path)


def prefixed(tensors, prefix="module."):
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def compiled(tensors):
    return prefixed(prefixed(tensors), "_orig_mod.")


@pytest.mark.parametrize(
    ("name", "shapes", "arguments"),
    [
        ("unet", unet(), {"channels": 32}),
        ("unet", unet(channels=12), {"channels": 12}),
        (
            "nafnet",
            published.nafnet(4, 32, [2, 2, 2, 2], 2, [2, 2, 2, 2]),
            {"width": 32, "encoder": [2, 2, 2, 2], "middle": 2, "decoder": [2, 2, 2, 2]},
        ),
        (
            "nafnet",
            published.nafnet(4, 8, [1, 0, 12], 3, [1, 2, 0]),
            {"width": 8, "encoder": [1, 0, 12], "middle": 3, "decoder": [1, 2, 0]},
        ),
        (
            "restormer",
            published.restormer(4, 32, [2, 2, 2, 2], 1),
            {"width": 32, "blocks": [2, 2, 2, 2], "refinement": 1},
        ),
        (
            "restormer",
            published.restormer(4, 48, [4, 6, 6, 8], 4),
            {"width": 48, "blocks": [4, 6, 6, 8], "refinement": 4},
        ),
    ],
)
def test_a_network_is_known_by_its_tensors_whatever_its_width_and_blocks(name, shapes, arguments):
    planes = {"in_planes": 4, "out_planes": 4}
    assert recognise(shapes) == (name, planes | arguments)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_pretrained_it_has_a_generic_set_and_one_per_virtual_camera(architecture, tmp_path):
    tensors = checkpoints.repnr(PLAIN[architecture], architecture, tuned=False)
    imported = import_checkpoint(save(tmp_path / PRETRAINED_NAME, {"params": tensors}))
    spec = imported.spec
    assert (spec.architecture, imported.form, spec.method) == (architecture, "pretrain", "pretrain")
    assert spec.csa_sets == ("generic", *(f"virtual{n}" for n in range(5)))
    assert (spec.input_form, spec.cfa, spec.planes, spec.omnr) == ("gain", "bayer", 4, False)
    assert spec.licence == "CC-BY-NC-4.0"
    assert spec.ratio_range == (100.0, 300.0)
    assert spec.cameras == ()
    layer = next(name.removesuffix(".main_weight") for name in tensors if "main_weight" in name)
    mean = sum(tensors[f"{layer}.align_weights.{n}"] for n in range(5)) / 5
    torch.testing.assert_close(imported.tensors[f"{layer}.align_weights.generic"], mean)
    assert proof(imported, "virtual3", tmp_path).holds


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_fine_tuned_it_folds_into_its_params_deploy(architecture, tmp_path):
    tensors = checkpoints.repnr(PLAIN[architecture], architecture, tuned=True)
    content = {"params": tensors, "params_deploy": checkpoints.fold(tensors)}
    imported = import_checkpoint(save(tmp_path / DEPLOYED_NAME, content))
    spec = imported.spec
    assert (imported.form, spec.method, spec.omnr) == ("fine-tuned", "led", True)
    assert spec.csa_sets == ("target", *(f"virtual{n}" for n in range(5)))
    assert spec.cameras == ("Sony ILCE-7SM2",)
    assert spec.training["imported"]["deploy_difference"] < 1e-6
    assert imported.notes[0].startswith("its fold equals params_deploy to ")
    # Upstream's fold drops what has no bias to go into: ours does not, and says so.
    assert ("lacks the bias of" in imported.notes[0]) == (architecture == "restormer")
    assert proof(imported, "target", tmp_path).holds


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_deployed_it_is_a_plain_network(architecture, tmp_path):
    tensors = checkpoints.fill(PLAIN[architecture])
    for content in ({"params_deploy": tensors}, {"params": tensors}):
        imported = import_checkpoint(save(tmp_path / DEPLOYED_NAME, content))
        assert (imported.form, imported.spec.csa_sets) == ("deploy", ())
        assert shapes_of(imported.tensors) == dict(PLAIN[architecture])
    _, net = network(imported, tmp_path)
    x = torch.rand(1, 4, 32, 48)
    assert net(x).shape == x.shape


def proof(imported, csa_set, tmp_path):
    spec, net = network(imported, tmp_path)
    _, plain = fold(spec, net, csa_set)
    return prove(net, csa_set, plain, network_inputs(spec, net))


@pytest.mark.parametrize("channels", [4, 32])
@pytest.mark.parametrize(
    ("tuned", "csa_set", "alignment"), [(True, "target", 5), (False, "virtual1", 1)]
)
def test_the_fold_is_the_published_network_pad_align_convolve(
    channels, tuned, csa_set, alignment, tmp_path
):
    tensors = checkpoints.repnr(unet(channels=channels), "unet", tuned=tuned)
    imported = import_checkpoint(save(tmp_path / DEPLOYED_NAME, {"params": tensors}))
    spec, net = network(imported, tmp_path)
    _, plain = fold(spec, net, csa_set)
    x = torch.rand(1, 4, 48, 64)
    with torch.inference_mode():
        unfolded = checkpoints.unfolded_unet(tensors, x, alignment)
        assert unfolded.abs().max() > 0.1
        torch.testing.assert_close(plain(x), unfolded, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("key", "wrap"),
    [("params", lambda t: t), ("params", prefixed), ("params_ema", compiled), ("", compiled)],
)
def test_wherever_the_tensors_stand(wrap, key, tmp_path):
    tensors = checkpoints.repnr(PLAIN["unet"], "unet", tuned=True)
    content = {key: wrap(tensors), "iter": 1500} if key else wrap(tensors)
    imported = import_checkpoint(save(tmp_path / DEPLOYED_NAME, content))
    torch.testing.assert_close(
        imported.tensors["conv1_1.align_biases.target"], tensors["conv1_1.align_biases.5"]
    )


def test_half_precision_and_parameters_are_read(tmp_path):
    tensors = checkpoints.fill(PLAIN["unet"])
    content = {n: torch.nn.Parameter(t.half()) for n, t in tensors.items()}
    imported = import_checkpoint(save(tmp_path / DEPLOYED_NAME, {"params": content}))
    assert {t.dtype for t in imported.tensors.values()} == {torch.float32}


def test_what_is_left_aside_is_said(tmp_path):
    tensors = checkpoints.repnr(PLAIN["unet"], "unet", tuned=False)
    content = {"params": tensors, "params_ema": tensors, "params_deploy": checkpoints.fold(tensors)}
    notes = import_checkpoint(save(tmp_path / PRETRAINED_NAME, content)).notes
    assert notes == (
        "the network under 'params_ema' is ignored",
        "params_deploy is ignored: the pretrain form has several folds",
    )


def test_an_alignment_tuned_without_the_omnr_branch_is_a_target_too(tmp_path):
    tensors = checkpoints.repnr(PLAIN["unet"], "unet", tuned=False)
    tensors["conv3_1.align_weights.5"] += 0.01
    imported = import_checkpoint(save(tmp_path / DEPLOYED_NAME, {"params": tensors}))
    assert imported.form == "fine-tuned"
    assert (imported.spec.csa_sets[0], imported.spec.omnr) == ("target", False)


def test_two_networks_that_disagree_are_refused_unless_told(tmp_path):
    tensors = checkpoints.repnr(PLAIN["unet"], "unet", tuned=True)
    deployed = checkpoints.fold(tensors)
    deployed["conv4_2.bias"] = deployed["conv4_2.bias"] + 2e-4
    path = save(tmp_path / DEPLOYED_NAME, {"params": tensors, "params_deploy": deployed})
    with pytest.raises(ModelError, match=r"differ by 2\.0e-04 in 'conv4_2\.bias'.*--force"):
        import_checkpoint(path)
    imported = import_checkpoint(path, force=True)
    assert "taking the RepNR form" in imported.notes[0]
    deployed["conv4_2.bias"][0] = torch.nan
    with pytest.raises(ModelError, match="differ by inf"):
        import_checkpoint(
            save(tmp_path / DEPLOYED_NAME, {"params": tensors, "params_deploy": deployed})
        )


def test_ratios_and_camera_are_the_names_unless_told(tmp_path):
    tensors = checkpoints.fill(PLAIN["unet"])
    path = save(tmp_path / "net_g_latest.pth", {"params": tensors})
    with pytest.raises(UsageError, match="--ratio-range LOW HIGH"):
        import_checkpoint(path)
    spec = import_checkpoint(path, ratio_range=(1, 200)).spec
    assert (spec.ratio_range, spec.cameras, spec.method) == ((1, 200), (), "led")
    path = path.rename(tmp_path / "LED_Deploy_ELD_NikonD850_CVPR20_Setting_Ratio1-200.pth")
    spec = import_checkpoint(path).spec
    assert (spec.ratio_range, spec.cameras) == ((1.0, 200.0), ("NIKON D850",))
    spec = import_checkpoint(path, ratio_range=(50, 50), camera="NIKON Z 6").spec
    assert (spec.ratio_range, spec.cameras) == ((50, 50), ("NIKON Z 6",))
    path = path.rename(tmp_path / "LED_Deploy_Own_PentaxK1_CVPR20_Setting_Ratio1-200.pth")
    imported = import_checkpoint(path)
    assert imported.spec.cameras == ("PentaxK1",)
    assert "--camera 'MAKE MODEL'" in imported.notes[-1]


def without(name):
    def change(tensors):
        del tensors[name]

    return change


def put(name, tensor):
    def change(tensors):
        tensors[name] = tensor

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("conv2_1.main_bias"), "tensor 'conv2_1.bias' is missing"),
        (without("conv2_1.align_biases.3"), "'conv2_1.align_biases.virtual3' is missing"),
        (without("conv2_1.aux_weight"), "'conv2_1.aux_weight' is missing"),
        (
            put("conv2_1.align_weights.3", torch.ones(1, 3, 1, 1)),
            "'conv2_1.align_weights.virtual3'",
        ),
        (put("conv2_1.main_weight", torch.ones(8, 4, 5, 5)), "is 8x4x5x5 instead of 8x4x3x3"),
        (put("conv10_1.weight", torch.ones(12, 4, 1, 1)), "takes 4 planes and gives 12"),
        (put("more.weight", torch.ones(1)), "'more.weight' too many"),
        (put("conv10_1.bias", torch.full((4,), torch.inf)), "not finite"),
        (
            put("conv10_1.bias", torch.ones(4, dtype=torch.int64)),
            "not hold floating-point",
        ),
        (lambda t: t.pop("conv1_1.main_weight"), "not those of a network led imports"),
    ],
)
def test_a_network_that_is_not_whole_is_refused_by_file_and_tensor(change, message, tmp_path):
    tensors = checkpoints.repnr(PLAIN["unet"], "unet", tuned=True)
    change(tensors)
    path = save(tmp_path / DEPLOYED_NAME, {"params": tensors})
    with pytest.raises(ModelError) as caught:
        import_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_imported_model_can_be_installed(tmp_path):
    tensors = checkpoints.repnr(PLAIN["nafnet"], "nafnet", tuned=True)
    imported = import_checkpoint(save(tmp_path / DEPLOYED_NAME, {"params": tensors}))
    spec, _ = load_model(install_model("led-naf", imported.spec, imported.tensors))
    assert spec.name == "led-naf"
