"""SID: what it is compared with, that it learns to develop, and that its model says what it is."""

import numpy as np
import pytest
import torch

from ledcli.errors import ModelError
from ledcli.nets.forms import subpixel
from ledcli.nets.network import build
from ledcli.training.data.pairs import RawPair, camera_pairs
from ledcli.training.loop import Trainer
from ledcli.training.methods.base import MethodInputs
from ledcli.training.methods.exposure import ExposureMethod, ExposureRecipe
from ledcli.training.methods.sid import SidMethod, SidRecipe, SrgbCollector
from ledcli.training.methods.start import Pretrained, no_model
from ledcli.zoo.spec import ModelSpec
from tests.training.shoots import photos_of, shoot_pair
from tests.training.test_exposure import TINY, spec

CPU = torch.device("cpu")


def loaded(folder, **how):
    """Two pairs as the methods take them: shots, and pictures."""
    collector, raws = SrgbCollector(2), []
    for seed, iso in enumerate((400, 6400)):
        short, long = photos_of(shoot_pair(folder, f"p{iso}", iso, 20, seed, **how))
        collector(short, long, 20.0, float(iso))
        about = (20.0, float(iso), 100.0, "shot", short.phase)
        raws.append(RawPair(short.planes(), long.planes(), *about))
    return camera_pairs(raws), collector


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return loaded(tmp_path_factory.mktemp("sid"))


def inputs(pairs):
    shots, collector = pairs
    return MethodInputs(shots, CPU, collector=collector)


def method(pairs, **how):
    return SidMethod(SidRecipe(**({"batch": 4, "side": 32} | how)), inputs(pairs))


def test_it_is_compared_with_librawes_picture_of_the_noisy_frame(pairs):
    shots, collector = pairs
    expected = []
    for pair in collector.pairs(shots.noise_profile).pairs:
        errors = [
            np.square(noisy / 65535 - picture / 65535).mean()
            for _, picture, noisy in pair.validation_windows()
        ]
        expected.append(-10 * np.log10(np.mean(errors)))
    before = method(pairs).before(no_model(), bf16=False)
    assert before == pytest.approx(np.mean(expected), abs=1e-3)


def test_it_learns_to_develop(pairs):
    small = {"in_planes": 9, "channels": [8, 16], "encoder": [1, 1], "decoder": [1]}
    sid = method(pairs, iterations=80, learning_rate=2e-2)
    pretrained = spec(architecture="resunet", arguments=small)
    start = sid.begin(Pretrained(pretrained, build("resunet", small)))
    trainer = Trainer(start.net, sid, sid.schedule(), CPU, bf16=False, muon=sid.muon)
    at_first = sid.psnr(start.net)
    list(trainer.run())
    with trainer.averaged(), torch.inference_mode():
        assert sid.psnr(start.net) > at_first + 8


def test_a_new_network_begins_with_the_pictures_mean_colour(pairs):
    sid = method(pairs)
    start = sid.begin(no_model())
    batch, _ = sid.srgb_pairs.validation_batches()[0]
    with torch.inference_mode():
        made = subpixel(start.net(batch.x * 0))
    expected = sid.srgb_pairs.mean()
    assert torch.allclose(made, expected.reshape(3, 1, 1).expand_as(made), atol=1e-5)
    assert expected.min() > 0.2 and expected.max() < 0.95


def test_the_model_says_what_it_is_and_what_is_initialised(pairs):
    start = method(pairs).begin(Pretrained(spec(), build("unet", TINY)))
    assert (start.spec.input_form, start.spec.output) == ("gain", "srgb")
    assert start.spec.arguments == {**TINY, "in_planes": 4, "out_planes": 12}
    assert start.spec == ModelSpec.from_header(start.spec.to_header())
    assert "conv1_1, conv10_1 are initialised" in start.note
    assert method(pairs).begin(no_model()).note == "every weight is initialised"


def test_what_it_made_can_be_trained_on(pairs):
    start = method(pairs).begin(no_model())
    again = method(pairs).begin(Pretrained(start.spec, start.net))
    for name, value in start.net.state_dict().items():
        assert torch.equal(again.net.state_dict()[name], value)


def test_an_x_trans_has_27_planes(tmp_path):
    sid = method(loaded(tmp_path, phase=(1, 2)), side=16)
    start = sid.begin(no_model())
    assert (start.spec.cfa, start.spec.planes) == ("xtrans", 9)
    assert (start.spec.arguments["in_planes"], start.spec.arguments["out_planes"]) == (9, 27)
    assert sid.loss(start.net, 0.0, torch.Generator().manual_seed(0), range(4)).isfinite()
    assert np.isfinite(sid.psnr(start.net))


def test_the_other_methods_do_not_start_from_it(pairs):
    start = method(pairs).begin(no_model())
    other = ExposureMethod(ExposureRecipe(), inputs(pairs))
    with pytest.raises(ModelError, match="--method sid"):
        other.before(Pretrained(start.spec, start.net), bf16=False)
