"""Every model of every configuration keeps the laws of `qinn.testing.check_model`."""

import pytest
import torch
from torch import nn

from qinn.experiment.build import build_model
from qinn.experiment.encoder_config import EncoderConfig
from qinn.experiment.model_configs import EVOLUTIONS_OF, MODEL_CONFIGS
from qinn.model.baselines import Concatenation
from qinn.model.encoders import Encoders
from qinn.records import Prediction
from qinn.testing import check_model, example_batch

from .cases import MODEL_CASES, TRIMODAL, ModelCase


def build(case: ModelCase, seed: int = 0) -> nn.Module:
    return build_model(
        MODEL_CONFIGS[case.config["kind"]].model_validate(case.config),
        EncoderConfig(kind=case.encoder, hidden_dim=4, dropout=0.1),
        feature_dims=case.feature_dims,
        sequences={name: name != "vision" for name in case.feature_dims},
        num_outputs=case.num_outputs,
        seed=seed,
        timed=list(case.feature_dims) if case.timed else (),
    )


def test_there_is_a_case_for_every_model_kind_and_every_evolution():
    kinds = {case.config["kind"] for case in MODEL_CASES.values()}
    evolutions = {case.config.get("evolution") for case in MODEL_CASES.values()} - {None}
    assert kinds == set(MODEL_CONFIGS)
    assert evolutions == set(EVOLUTIONS_OF["pooled"])


@pytest.mark.parametrize("name", MODEL_CASES)
def test_models_keep_the_laws(name):
    case = MODEL_CASES[name]
    batch = example_batch(
        case.feature_dims,
        num_samples=3,
        sequences={key: key != "vision" for key in case.feature_dims},
        timed=case.timed,
    )
    check_model(lambda: build(case), batch, num_outputs=case.num_outputs, idle=case.idle)


def concatenation(num_outputs: int = 1) -> Concatenation:
    encoders = Encoders(
        TRIMODAL,
        dict.fromkeys(TRIMODAL, True),
        hidden_dim=4,
        kinds=dict.fromkeys(TRIMODAL, "statistics"),
        dropout=0.0,
    )
    return Concatenation(encoders, num_outputs=num_outputs, dropout=0.0)


class Broken(nn.Module):
    """A model that breaks one law on purpose."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = concatenation()
        self.unused = nn.Parameter(torch.ones(1)) if type(self) is Unused else None

    def forward(self, batch):
        return self.broken(batch, self.inner(batch).output)

    def broken(self, batch, output):
        return Prediction(output)


class Unused(Broken):
    pass


class WrongShape(Broken):
    def broken(self, batch, output):
        return Prediction(output.expand(-1, 2))


class Random(Broken):
    def broken(self, batch, output):
        return Prediction(output + torch.rand(()))


class BatchMean(Broken):
    def broken(self, batch, output):
        return Prediction(output - output.mean())


class FirstSample(Broken):
    def broken(self, batch, output):
        return Prediction(output + 0.01 * torch.arange(len(batch))[:, None] * (len(batch) > 1))


class SeesPadding(Broken):
    def broken(self, batch, output):
        return Prediction(output + 0.01 * batch.features["text"].values.shape[1])


class AbsenceLeaks(Broken):
    def broken(self, batch, output):
        missing = (~batch.features["text"].present).sum()
        return Prediction(output + 0.01 * missing)


class InfiniteGradient(Broken):
    def broken(self, batch, output):
        return Prediction(output + output.detach().sub(output).abs().sqrt())


class OutsideWeights(Broken):
    def __init__(self) -> None:
        super().__init__()
        self.secret = torch.rand(())

    def broken(self, batch, output):
        return Prediction(output + self.secret)


class WrongLikelihood(Broken):
    def broken(self, batch, output):
        return Prediction(output, output[:, None], torch.ones(len(batch), 1))


@pytest.mark.parametrize(
    ("model", "law"),
    [
        (Unused, r"every parameter gets a gradient, but these do not: \['unused'\]"),
        (WrongShape, r"outputs have the shape \(4, 1\), not \(4, 2\)"),
        (Random, "every call in evaluation mode"),
        (BatchMean, "one by one"),
        (FirstSample, "one by one"),
        (SeesPadding, "padding changes no output"),
        (AbsenceLeaks, "a sample without `text` changes no other"),
        (InfiniteGradient, "gradients are finite with every modality"),
        (OutsideWeights, "saved and loaded weights"),
        (WrongLikelihood, "log-likelihoods have the value 0"),
    ],
)
def test_a_model_that_breaks_a_law_is_caught(model, law):
    with pytest.raises(AssertionError, match=law):
        check_model(model, example_batch(TRIMODAL), num_outputs=1)


def test_idle_parameters_are_excused():
    check_model(Unused, example_batch(TRIMODAL), num_outputs=1, idle=["unused"])
