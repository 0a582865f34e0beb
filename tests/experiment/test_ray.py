"""Comparisons on a cluster of Ray: a killed node loses nothing, and what comes out is what one process makes."""

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import qinn
from qinn.errors import ArgumentError, CheckpointError, ConfigError, MissingPackageError, QinnError
from qinn.experiment import ray_prediction
from qinn.experiment.comparison import compare
from qinn.experiment.config import config_of
from qinn.experiment.grid import TASKS_FOLDER, Grid
from qinn.experiment.prediction import PreparedPrediction
from qinn.experiment.ray_cluster import Ray, _do, connected
from qinn.face.comparing import compare as face_compare
from qinn.results.folder import RunFolder

from ..tiny import TRAINING, tiny_config, write_tiny_store
from .test_grid import same_bytes

MODELS = {"Early fusion": {"kind": "concatenation"}, "late": {"kind": "late_fusion"}}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Two models on three folds: six tasks."""
    store = write_tiny_store(tmp_path_factory.mktemp("ray") / "store", group_size=30).path
    data = {"store": str(store), "split": "group", "valid_fraction": 0.3}
    training = {**TRAINING, "max_epochs": 1}
    return tiny_config(store, models=MODELS, data=data, training=training)


@pytest.fixture(scope="module")
def local(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ray-local") / "comparison"
    compare(config, folder)
    return folder


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of this machine, with a core each; the second is `worker`."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    pytest.importorskip("ray", reason="the optional extra qinn[ray] is not installed")
    from ray.cluster_utils import Cluster

    size = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    made = Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
    made.worker = made.add_node(**size)
    yield made
    made.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_node_that_is_killed_loses_nothing(config, local, cluster, tmp_path):
    seen = []

    def on_run(done, total, label):
        seen.append((done, total))
        if done == 2:
            cluster.remove_node(cluster.worker, allow_graceful=False)

    result = compare(config, tmp_path / "there", engine=Ray(cluster.address), on_run=on_run)
    assert seen == [(done, 6) for done in range(1, 7)]
    assert same_bytes(local, tmp_path / "there") > 10
    assert set(result.models) == set(MODELS)
    import ray

    assert not ray.is_initialized()  # what this connected to is left
    again = compare(config, tmp_path / "there", engine=Ray("192.0.2.1:1"))
    assert again.models == result.models  # nothing is to do, so nobody is asked


def test_a_task_that_fails_says_why_and_the_others_are_kept(config, tmp_path, monkeypatch):
    grid = Grid.of(config, tmp_path / "comparison")
    grid.write(overwrite=False)
    monkeypatch.chdir(tmp_path)
    assert _do(str(grid.place), 0) is None
    assert grid.is_done(0)
    assert "is none of" in _do(str(grid.place), 99)


def test_where_ray_is_not_installed_the_extra_is_named(config, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r"The engine `ray` needs .*ray"):
        compare(config, tmp_path / "comparison", engine=Ray())
    assert not (tmp_path / "comparison").exists()


class Made:
    """A stand-in for Ray that does tasks here, the last first; where it is told so one dies."""

    exceptions = SimpleNamespace(RayError=RuntimeError)

    def __init__(self, dying=()):
        self.dying, self.most, self.init_with, self.up = set(dying), 0, None, False
        self.left = {}

    def is_initialized(self):
        return False

    def init(self, **options):
        self.init_with, self.up = options, True

    def shutdown(self):
        self.up = False

    def remote(self, **options):
        assert options["num_cpus"] == 1
        assert not options["retry_exceptions"]
        assert options["max_retries"] > 0

        def wrap(function):
            def submit(*arguments):
                ticket = object()
                self.left[ticket] = (function, arguments)
                self.most = max(self.most, len(self.left))
                return ticket

            wrap.remote = submit
            return wrap

        return wrap

    def wait(self, tickets, num_returns):
        return tickets[-1:], tickets[:-1]

    def get(self, ticket):
        function, arguments = self.left.pop(ticket)
        if arguments[1] in self.dying:
            raise self.exceptions.RayError("The worker died unexpectedly")
        return function(*arguments)


@pytest.fixture
def made(monkeypatch, tmp_path):
    import sys

    monkeypatch.chdir(tmp_path)
    stand_in = Made()
    monkeypatch.setitem(sys.modules, "ray", stand_in)
    return stand_in


@pytest.mark.slow
def test_tasks_in_any_order_make_the_comparison_and_no_more_run_at_once_than_asked(
    config, local, made, tmp_path
):
    seen = []
    options = {"to": tmp_path / "there", "on_run": lambda *done: seen.append(done[:2])}
    face_compare(config, engine="ray", workers=3, **options)
    assert same_bytes(local, tmp_path / "there") > 10
    assert seen == [(done, 6) for done in range(1, 7)]
    assert made.most == 3
    assert made.init_with["address"] == "local"
    assert made.init_with["num_cpus"] == 3
    assert not made.up
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


@pytest.mark.slow
def test_what_dies_too_often_is_named_and_the_rest_is_kept(config, made, tmp_path):
    made.dying = {2, 5}
    with pytest.raises(QinnError, match=r"2 tasks of 6 did not finish, .*died unexpectedly"):
        compare(config, tmp_path / "there", engine=Ray())
    assert not made.up
    grid = Grid.of(config, tmp_path / "there")
    assert grid.pending() == [2, 5]
    made.dying = set()
    compare(config, tmp_path / "there", engine=Ray())
    assert grid.pending() == []
    assert (tmp_path / "there" / TASKS_FOLDER).is_dir()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:1", "refused"),
        ("127.0.0.1:ray", "`ray` is no port"),
        ("here", "nobody is at here"),
        ("", "it is empty"),
    ],
)
def test_an_address_where_nobody_answers_is_named_at_once(address, reason, made, monkeypatch):
    def init(**options):
        raise ConnectionError(f"nobody is at {options['address']}")

    monkeypatch.setattr(made, "init", init)
    clock = time.perf_counter()
    with (
        pytest.raises(ConfigError, match=f"No cluster of Ray answers at `{address}` .*{reason}"),
        connected(address),
    ):
        pass
    assert time.perf_counter() - clock < 10


def test_an_address_goes_with_ray_alone(config, tmp_path):
    with pytest.raises(ArgumentError, match="`address` must be left out unless `engine` is 'ray'"):
        face_compare(config, to=tmp_path / "no", engine="slurm", address="here:1")
    with pytest.raises(ArgumentError, match="`address` must be left out unless"):
        face_compare(config, to=tmp_path / "no", address="")
    with pytest.raises(ArgumentError, match="`workers` must be 1 or more, but it is 0"):
        face_compare(config, to=tmp_path / "no", engine="ray", workers=0)
    assert not Path(tmp_path / "no").exists()


class Parts:
    """A stand-in for Ray Data that does parts here, in their order."""

    class DataContext:
        @staticmethod
        def get_current():
            return SimpleNamespace(execution_options=SimpleNamespace())

    ActorPoolStrategy = SimpleNamespace

    def from_items(self, items, *, override_num_blocks):
        assert override_num_blocks == len(items)
        self.items = items
        return self

    def map_batches(self, kind, *, fn_constructor_kwargs, compute, **options):
        self.size, made = compute.size, kind(**fn_constructor_kwargs)
        self.found = [made(pa.table({"start": [one["start"]]})) for one in self.items]
        return self

    def iter_batches(self, **options):
        return iter(self.found)


@pytest.fixture
def parts(made, monkeypatch):
    import sys

    made.data = Parts()
    monkeypatch.setitem(sys.modules, "ray.data", made.data)
    monkeypatch.setattr(ray_prediction, "SAMPLES_OF_A_PART", 4)
    return made.data


@pytest.mark.parametrize("run", ["tiny_run", "class_run"])
def test_predictions_in_parts_are_those_of_one_process_in_their_order(run, parts, request, tmp_path):
    folder = request.getfixturevalue(run)
    store = config_of(RunFolder(folder)).data.store
    said, whole = [], []
    rows = qinn.predict(
        folder, store, tmp_path / "one.parquet", split="all", batch_size=4, on_remark=whole.append
    )
    number = qinn.predict_by_ray(
        folder,
        store,
        tmp_path / "parts.parquet",
        split="all",
        batch_size=4,
        processes=2,
        on_remark=said.append,
    )
    assert number == len(rows) > 8
    assert len(parts.found) == -(-number // 4)
    assert parts.size == 2
    one, other = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("one", "parts"))
    assert other.equals(one)
    assert other.schema.equals(one.schema, check_metadata=True)  # so that either replaces the other
    assert said == whole
    with pytest.raises(ArgumentError, match=r"written to .parquet alone, but the file is"):
        qinn.predict_by_ray(folder, store, tmp_path / "parts.csv")


def test_a_prediction_that_fails_in_a_process_of_ray_says_why_and_writes_nothing(
    parts, tiny_run, tmp_path, monkeypatch
):
    store, place = config_of(RunFolder(tiny_run)).data.store, tmp_path / "parts.parquet"
    predicting = PreparedPrediction.rows

    def rows(self, subset):
        if len(subset) > 1:
            raise CheckpointError("An output is not finite.")
        return predicting(self, subset)

    monkeypatch.setattr(PreparedPrediction, "rows", rows)
    with pytest.raises(QinnError, match=r"^An output is not finite\.$"):
        qinn.predict_by_ray(tiny_run, store, place, processes=1)

    def dying(**options):
        raise RuntimeError("traceback\nModuleNotFoundError: No module named 'qinn'\n")
        yield

    monkeypatch.setattr(parts, "iter_batches", dying)
    with pytest.raises(
        QinnError, match=r"did not finish the prediction \(ModuleNotFoundError: No module named 'qinn'\)"
    ):
        qinn.predict_by_ray(tiny_run, store, place, processes=1)
    with pytest.raises(ArgumentError, match="`processes` must be 1 or more, but it is 0"):
        qinn.predict_by_ray(tiny_run, store, place, processes=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_ray_data_predicts_what_one_process_does(cluster, tiny_run, tmp_path, monkeypatch):
    store = config_of(RunFolder(tiny_run)).data.store
    qinn.predict(tiny_run, store, tmp_path / "one.parquet", split="all")
    qinn.predict_by_ray(tiny_run, store, tmp_path / "ray.parquet", split="all", address=cluster.address)
    assert pq.read_table(tmp_path / "ray.parquet").equals(pq.read_table(tmp_path / "one.parquet"))
