"""The rows that stand in every comparison: the constant, and linear models of all features."""

from qinn.data.stores.store import Store
from qinn.experiment.build import linear_modalities
from qinn.experiment.config import ExperimentConfig, slug
from qinn.experiment.model_configs import ConstantConfig, LinearConfig

_ROWS = {
    "constant": ConstantConfig(),
    "linear, early": LinearConfig(fusion="early"),
    "linear, late": LinearConfig(fusion="late"),
    "linear, stacked": LinearConfig(fusion="stacked"),
}


def with_simple_rows(config: ExperimentConfig, store: Store) -> ExperimentConfig:
    """Return an experiment with the constant and linear models behind its own, unless it leaves them out.

    A model that the experiment has already, under whatever label, is not added. Of one modality there is one linear
    model; of none that has features (token ids have none) there is none.

    Args:
        config: The experiment.
        store: Its data.
    """
    if not config.simple_rows:
        return config
    usable = linear_modalities(config.encoder, config.data.modalities or store.modalities)
    names = ["constant", *list(_ROWS)[1 : {0: 1, 1: 2}.get(len(usable))]]
    models = dict(config.models)
    taken = {slug(label) for label in (*models, *config.trained_elsewhere)}
    for name in names:
        if _ROWS[name] in config.models.values():
            continue
        label = name if len(usable) > 1 or name == "constant" else "linear"
        while slug(label) in taken:
            label += ", simple row"
        taken.add(slug(label))
        models[label] = _ROWS[name]
    return config.model_copy(update={"models": models})
