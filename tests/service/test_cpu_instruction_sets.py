"""The builds of the kernels for lesser processors than this one, which every arm64 machine uses."""

import pytest
import torch

from model.transformer import Transformer
from service.engine.cpu.kernel_library import KernelError, instruction_sets, load_library
from service.engine.cpu.packed_network import ISA_VARIABLE, NumberType
from tests.service.packed_models import (
    BLOCKS_EACH,
    NUM_OWNERS,
    chunk,
    cpu_executor,
    network_shape,
    new_network,
    rows,
    text,
)

SETS = instruction_sets(load_library())
# Of the widest logit: 8-bit weights are rounded to 1/254 of their group's largest.
TOLERANCES = {NumberType.F32: 1e-4, NumberType.BF16: 0.05, NumberType.INT8: 0.05}


@pytest.fixture(scope="module", params=["even", "odd"])
def model(request: pytest.FixtureRequest) -> Transformer:
    if request.param == "even":
        return new_network(network_shape(hidden_size=64, head_dim=16))
    shape = network_shape(hidden_size=67, intermediate_size=85, head_dim=34, is_tied=False)
    return new_network(shape)


@pytest.mark.parametrize("weight_type", [NumberType.F32, NumberType.BF16, NumberType.INT8])
@pytest.mark.parametrize("isa", SETS)
def test_each_set_gives_the_references_logits_and_the_same_bits_in_any_batch(
    model: Transformer, isa: str, weight_type: NumberType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ISA_VARIABLE, isa)
    is_exact = weight_type is NumberType.F32
    executor = cpu_executor(
        model,
        num_blocks=NUM_OWNERS * BLOCKS_EACH,
        weight_type=weight_type,
        cache_type=NumberType.F32 if is_exact else NumberType.BF16,
    )
    assert executor.network.isa == isa
    texts = [text(owner, 70) for owner in range(NUM_OWNERS)]
    whole = [executor.compute([chunk(ids, 0, owner)]).logits_RV for owner, ids in enumerate(texts)]
    with torch.inference_mode():
        expected_TV = model(torch.tensor([texts[1]]))[0]
    scale = float(expected_TV.abs().max()) + 1.0
    difference = float((whole[1] - expected_TV).abs().max())
    assert difference < TOLERANCES[weight_type] * scale
    executor.compute([chunk(ids[:66], 0, owner) for owner, ids in enumerate(texts)])
    for place in range(66, 70):
        step = executor.compute(
            [chunk([ids[place]], place, owner) for owner, ids in enumerate(texts)]
        )
        for owner in range(NUM_OWNERS):
            assert torch.equal(rows(step, owner)[0], whole[owner][place])


def test_the_least_set_is_in_every_build_and_an_unknown_one_is_refused(
    model: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SETS[-1] == "baseline"
    monkeypatch.setenv(ISA_VARIABLE, "avx9")
    with pytest.raises(KernelError, match="instruction"):
        cpu_executor(model, num_blocks=BLOCKS_EACH)
