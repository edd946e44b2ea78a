"""Export to ONNX, and what is read of such a file; without onnx the tests are skipped."""

import json

import numpy as np
import pytest
import torch

from ledcli.errors import ModelError, UsageError
from ledcli.nets import network as table
from ledcli.nets import repnr
from ledcli.nets.repnr import deploy, select
from ledcli.zoo import onnx as exported_onnx
from ledcli.zoo.folding import fold
from ledcli.zoo.model_file import load_model, read_header, read_spec, require_onnx
from ledcli.zoo.onnx import OnnxNet, load_onnx, to_onnx
from ledcli.zoo.onnx_graph import foreign_part
from ledcli.zoo.spec import ModelSpec
from tests.inference.models import noise_profile

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

NETWORKS = {
    "unet": {"channels": 4},
    "resunet": {"channels": [4, 8, 8], "encoder": [1, 1, 1], "decoder": [1, 1]},
    "nafnet": {"width": 8, "encoder": [1, 1], "middle": 1, "decoder": [1, 1]},
    "restormer": {"width": 8, "blocks": [1, 1, 1, 1], "refinement": 1},
}


def spec_of(architecture, **description):
    values = {
        "name": "mine",
        "architecture": architecture,
        "arguments": {"in_planes": 4, **NETWORKS[architecture]},
        "input_form": "gain",
        "csa_sets": ("a", "b"),
        "ratio_range": (1.0, 300.0),
        "method": "led",
        "licence": "CC0-1.0",
        "source": "tests",
        "cameras": ("Led Testcam One",),
        "noise_profile": noise_profile(),
    }
    return ModelSpec(**values | description)


def made(architecture, **description):
    """A model whose alignments are not the identity, and whose weights none is zero."""
    spec = spec_of(architecture, **description)
    net = table.build(architecture, dict(spec.arguments))
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    if spec.csa_sets:
        net = repnr.convert(net, spec.csa_sets, omnr=spec.omnr)
        with torch.no_grad():
            for name, weight in net.named_parameters():
                if ".align_" in name or ".aux_" in name:
                    weight.add_(0.1 * torch.randn_like(weight))
    return spec, net.eval()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """An exported model: its file, its description and its network."""
    torch.manual_seed(5)
    spec, net = made("unet")
    folded, plain = fold(spec, net, "b", source_sha256="ab" * 32)
    path = tmp_path_factory.mktemp("onnx") / "m.onnx"
    path.write_bytes(to_onnx(folded, plain, source_sha256="ab" * 32).data)
    return path, folded, plain


@pytest.mark.parametrize("architecture", NETWORKS)
def test_the_folded_network_is_the_same_function_at_every_size_and_batch(architecture):
    spec, net = made(architecture, omnr=True)
    exported = to_onnx(*fold(spec, net, "b"))
    assert exported.difference.relative <= 1e-4
    assert foreign_part(onnx.load_model_from_string(exported.data)) is None
    select(net, "b")
    multiple = net.architecture.size_multiple
    for batch, rows, cols in ((1, 2, 3), (3, 6, 1), (2, 1, 1)):
        x = torch.rand(batch, 4, rows * multiple, cols * multiple)
        with torch.inference_mode():
            torch.testing.assert_close(exported.net(x), net(x), atol=1e-4, rtol=1e-4)


def test_the_file_says_what_it_is(file):
    path, folded, plain = file
    assert read_spec(path).to_header() == folded.to_header()
    header = read_header(path)
    stored = set(header.shapes.values())
    assert stored == {tuple(t.shape) for t in plain.state_dict().values()}
    assert header.parameters == sum(t.numel() for t in plain.parameters())
    # And as others read it.
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    metadata = {p.key: p.value for p in model.metadata_props}
    assert metadata["led.size_multiple"] == "16" and metadata["led.source_sha256"] == "ab" * 32
    assert "CC0-1.0" in model.doc_string and "'gain'" in model.doc_string
    given = model.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in given] == ["batch", 4, "height", "width"]


def test_a_file_is_run_with_nothing_else_at_hand(file):
    path, _, plain = file
    spec, like, net = load_onnx(path)
    assert spec.name == "mine" and like.architecture == plain.architecture
    x = torch.rand(1, 4, 48, 32)
    with torch.inference_mode():
        torch.testing.assert_close(net(x), plain(x), atol=1e-5, rtol=1e-5)
    # As the engine hands it on: channels last, part of a larger one.
    strided = torch.rand(1, 4, 64, 64).to(memory_format=torch.channels_last)[..., :48, 16:48]
    with torch.inference_mode():
        torch.testing.assert_close(net(strided), plain(strided), atol=1e-5, rtol=1e-5)


def test_a_result_that_differs_from_torch_is_refused(monkeypatch):
    spec, net = made("unet", csa_sets=())

    class Off(OnnxNet):
        def forward(self, x):
            return super().forward(x) + 1e-3

    monkeypatch.setattr(exported_onnx, "OnnxNet", Off)
    with pytest.raises(ModelError, match="differs as ONNX"):
        to_onnx(spec, net)

    class Nan(OnnxNet):
        def forward(self, x):
            return super().forward(x) * (float("nan") if x.shape[2] == 16 else 1)

    monkeypatch.setattr(exported_onnx, "OnnxNet", Nan)
    with pytest.raises(ModelError, match="differs as ONNX"):
        to_onnx(spec, net)


def test_a_size_that_the_trace_has_fixed_is_found(monkeypatch):
    spec, net = made("unet", csa_sets=())
    forward = net.forward
    net.forward = lambda x: forward(x).reshape([int(n) for n in x.shape])
    with pytest.raises(ModelError, match="cannot be run on"):
        to_onnx(spec, net)


def test_what_torch_cannot_export_is_one_line():
    spec, net = made("unet", csa_sets=())
    forward = net.forward
    net.forward = lambda x: torch.special.bessel_j0(forward(x))
    with pytest.raises(ModelError, match="cannot export this network") as caught:
        to_onnx(spec, net)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_without_the_extra_the_error_says_how_to_get_it(file, monkeypatch, missing):
    import sys

    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UsageError, match=rf"needs {missing}: pip install 'ledcli\[onnx\]'"):
        require_onnx("this")
    with pytest.raises(UsageError, match=rf"m\.onnx: needs {missing}"):
        read_spec(file[0])


def test_an_exported_network_cannot_be_trained(file):
    with pytest.raises(ModelError, match=r"Name the \.safetensors model"):
        load_model(file[0])


def rewritten(path, change):
    model = onnx.load(path)
    change(model)
    return model.SerializeToString()


def drop(model, key):
    kept = [p for p in model.metadata_props if p.key != key]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)


def external(model):
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    tensor.external_data.add(key="location", value="../secret")


def external_constant(model):
    tensor = model.graph.node.add(op_type="Constant").attribute.add(name="value").t
    tensor.external_data.add(key="location", value="../secret")


def external_list(model):
    attribute = model.graph.node.add(op_type="Constant").attribute.add(name="value")
    attribute.tensors.add().external_data.add(key="location", value="../secret")


def external_in_a_graph(model):
    graph = model.graph.node.add(op_type="Identity").attribute.add(name="body").g
    graph.initializer.add().external_data.add(key="location", value="../secret")


def external_sparse(model):
    sparse = model.graph.sparse_initializer.add()
    sparse.values.external_data.add(key="location", value="../secret")


def function(model):
    model.functions.add(name="Conv").node.add(op_type="Loop")


def twice(model):
    model.metadata_props.add(key="led", value="{}")


def unfolded(model):
    drop(model, "led")
    text = json.dumps(spec_of("unet").to_header())
    model.metadata_props.add(key="led", value=text)


@pytest.mark.parametrize(
    "change,words",
    [
        (lambda m: drop(m, "led"), "no description by led"),
        (twice, "duplicate keys"),
        (external, "another file"),
        (external_constant, "another file"),
        (external_list, "another file"),
        (external_in_a_graph, "a graph or a sparse tensor inside 'Identity'"),
        (external_sparse, "functions, training steps or sparse weights"),
        (function, "functions, training steps or sparse weights"),
        (lambda m: m.graph.node.add(op_type="Loop"), "the operator 'Loop'"),
        (lambda m: m.graph.node.add(op_type="Conv", domain="com.mine"), "the operator 'Conv'"),
        (unfolded, "not folded"),
    ],
)
def test_a_file_that_is_not_as_led_writes_it_is_refused(file, tmp_path, change, words):
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(rewritten(file[0], change))
    with pytest.raises(ModelError, match=words) as caught:
        read_spec(bad)
    assert str(caught.value).startswith(f"{bad}: ")


def test_a_damaged_file_is_refused_wherever_it_is_cut(file, tmp_path):
    data, bad = file[0].read_bytes(), tmp_path / "bad.onnx"
    rng = np.random.default_rng(0)
    for end in (0, 1, *rng.integers(2, len(data), 40)):
        bad.write_bytes(data[:end])
        with pytest.raises(ModelError):
            read_spec(bad)
    for noise in (b"PK\x03\x04" + bytes(100), b"\xff" * 100, b"\x00" * 100, b"{}"):
        bad.write_bytes(noise)
        with pytest.raises(ModelError):
            read_spec(bad)
    with pytest.raises(ModelError, match="no such model file"):
        read_spec(tmp_path / "none.onnx")


def test_the_network_is_not_changed_by_the_export():
    """What is exported in memory, for a run, may be of any set; the model stays as it is."""
    spec, net = made("unet")
    plain = deploy(net, "a")
    weights = {n: t.clone() for n, t in plain.state_dict().items()}
    to_onnx(spec, plain)
    assert all(torch.equal(t, weights[n]) for n, t in plain.state_dict().items())
