import pytest
import torch

from ledcli.errors import UsageError
from ledcli.inference.backends import torch as module
from ledcli.inference.backends.torch import choose_device, choose_precision, is_out_of_memory

CPU = torch.device("cpu")


@pytest.fixture
def machine(monkeypatch):
    """Choose what this machine has."""

    def has(*kinds):
        for kind in ("cuda", "xpu"):
            module = getattr(torch, kind)
            monkeypatch.setattr(module, "is_available", lambda kind=kind: kind in kinds)
            monkeypatch.setattr(module, "device_count", lambda: 1)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in kinds)

    return has


@pytest.mark.parametrize(
    "kinds,chosen",
    [((), "cpu"), (("mps",), "mps"), (("xpu", "mps"), "xpu"), (("cuda", "xpu", "mps"), "cuda")],
)
def test_auto_takes_the_fastest_there_is(machine, kinds, chosen):
    machine(*kinds)
    assert choose_device("auto").type == chosen
    assert choose_device("cpu") == choose_device("cpu:0") == CPU


@pytest.mark.parametrize("name", ["cuda:1", "cuda:7", "xpu:1", "mps:1", "cpu:3"])
def test_a_number_beyond_the_devices_of_a_kind_is_refused(machine, name):
    machine("cuda", "xpu", "mps")
    assert choose_device("cuda:0").index == 0
    with pytest.raises(UsageError, match=f"no device '{name}': choose auto or cuda, xpu, mps, cpu"):
        choose_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps", "xpu", "meta"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(machine, name):
    machine()
    with pytest.raises(UsageError, match=f"no device '{name}': choose auto or cpu"):
        choose_device(name)


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "CPU "])
def test_a_name_that_is_no_device_is_refused(machine, name):
    machine()
    with pytest.raises(UsageError, match=f"no device '{name}'"):
        choose_device(name)


def test_a_precision_can_be_forced_and_a_wrong_one_is_refused():
    assert choose_precision("bf16", CPU) == "bf16"
    assert choose_precision("float32", CPU) == "float32"
    for name in ("fp16", "half", ""):
        with pytest.raises(UsageError, match="choose auto, bf16 or float32"):
            choose_precision(name, CPU)


def test_auto_is_bf16_where_the_device_is_fast_in_it(monkeypatch):
    for fast, chosen in ((True, "bf16"), (False, "float32")):
        monkeypatch.setattr(module, "fast_in_bf16", lambda _, fast=fast: fast)
        assert choose_precision("auto", CPU) == chosen


@pytest.mark.parametrize(
    ("name", "avx512_bf16", "amx", "fast"),
    [
        ("AMD Ryzen 9 7950X", True, False, True),
        ("AMD Ryzen 9 5950X", False, False, False),
        ("Intel Xeon Gold 6330H", True, False, False),
        ("Intel Xeon Platinum 8480+", True, True, True),
        (None, None, False, False),
    ],
)
def test_bf16_is_fast_with_amx_and_on_amd_with_avx512_bf16(
    monkeypatch, name, avx512_bf16, amx, fast
):
    can = {"cpu_name": name, "avx512_bf16": avx512_bf16} if name else {}
    monkeypatch.setattr(module.platform, "machine", lambda: "AMD64")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: can, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert module.fast_in_bf16(CPU) is fast


def test_this_machine_has_an_answer():
    assert choose_precision("auto", choose_device("auto")) in ("bf16", "float32")


def test_full_memory_is_distinguished_from_other_errors():
    cpu = "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
    assert is_out_of_memory(RuntimeError(cpu))
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
