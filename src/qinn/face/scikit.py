"""What an estimator has of scikit-learn where that is installed, and does itself where it is not."""

import importlib.util
import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any

from qinn.errors import ArgumentError, QinnError
from qinn.extras import needs


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # what an importer that hides a package says
        return False


HAS_SCIKIT = _is_installed("sklearn")
"""Whether scikit-learn is installed (extra ``sklearn``)."""


class OwnBase:
    """Parameters that are read from the signature of the constructor, as scikit-learn's base class has them."""

    @classmethod
    def parameter_names(cls) -> list[str]:
        """Return the names of the constructor's parameters."""
        return sorted(name for name in inspect.signature(cls.__init__).parameters if name != "self")

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name.

        Args:
            deep: Without effect: no parameter is an estimator.
        """
        return {name: getattr(self, name) for name in self.parameter_names()}

    def set_params(self, **params: Any) -> Any:
        """Change some parameters.

        Args:
            **params: Their new values.

        Returns:
            The estimator.

        Raises:
            ArgumentError: If there is no such parameter.
        """
        known = self.parameter_names()
        for name, value in params.items():
            if name not in known:
                raise ArgumentError(f"Argument `{name}` is no parameter; the parameters are {known}.")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        parameters = inspect.signature(type(self).__init__).parameters
        told = [
            f"{name}={getattr(self, name)!r}"
            for name, parameter in parameters.items()
            if name != "self" and repr(getattr(self, name)) != repr(parameter.default)
        ]
        return f"{type(self).__name__}({', '.join(told)})"


if TYPE_CHECKING or not HAS_SCIKIT:
    Base = OwnBase

    class NotFittedError(QinnError, ValueError, AttributeError):
        """An estimator is asked for what only a fitted one can say."""

    ColumnWarning = UserWarning
else:
    with needs("sklearn", "An estimator of scikit-learn's"):
        from sklearn.base import BaseEstimator
        from sklearn.exceptions import DataConversionWarning
        from sklearn.exceptions import NotFittedError as ScikitNotFittedError

    Base, ColumnWarning = BaseEstimator, DataConversionWarning

    class NotFittedError(QinnError, ScikitNotFittedError):
        """An estimator is asked for what only a fitted one can say."""


def check_like_scikit(estimator: object, data: object, *, first: bool) -> None:
    """Note the number and names of a plain array's features, or compare them with those of the fit.

    Args:
        estimator: The estimator, which gets ``n_features_in_``, and of a data frame ``feature_names_in_``.
        data: An array or data frame of numbers.
        first: Whether this is the fit.

    Raises:
        ValueError: If the features are others than those of the fit.
    """
    if HAS_SCIKIT:
        validation: Any = import_module("sklearn.utils.validation")
        validation.validate_data(estimator, data, reset=first, skip_check_array=True)


def tagged(tags: Any, *, is_classifier: bool, several: bool = False) -> Any:
    """Return scikit-learn's tags of an estimator, which say what it takes and predicts.

    Args:
        tags: Those of the base class.
        is_classifier: Whether it predicts classes.
        several: Whether it predicts several labels, each present or absent.
    """
    known: Any = import_module("sklearn.utils")
    tags.estimator_type = "classifier" if is_classifier else "regressor"
    tags.classifier_tags = known.ClassifierTags(multi_label=several) if is_classifier else None
    tags.target_tags.multi_output = several
    tags.target_tags.single_output = not several
    tags.regressor_tags = None if is_classifier else known.RegressorTags()
    tags.target_tags.required = True
    return tags
